"""The groups that candidates are lined up in: whoever is in a lower one comes first, whatever the scores.

Bits, of which the first that differs decides: late for the caller's deadline, a silent target's trial, suspects, then
(in a failover) the providers that failed in this call, then the regions that did, then whatever no table prefers, then
targets beyond the soft limit to the first token, then targets below the soft quality floor. What a table prefers is
exempt from the last two: the operator's word beats the soft limit and the floor.
"""

LATE, SILENT, SUSPECT, FAILED_PROVIDER, FAILED_REGION, NOT_PREFERRED, SLOW, WEAK = 128, 64, 32, 16, 8, 4, 2, 1
