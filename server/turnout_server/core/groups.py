"""The groups that candidates are lined up in: whoever is in a lower one comes first, whatever the scores.

Bits, of which the first that differs decides: late for the caller's deadline, a silent target's trial, suspects, then
(in a failover) the providers that failed in this call, then the regions that did, then the place of the target's region
in the order that is asked for (eight bits), then whatever no table prefers, then targets beyond the soft limit to the
first token, then targets below the soft quality floor. What a table prefers is exempt from the last two: the operator's
word beats the soft limit and the floor. The order of regions yields only to doubt whether a target answers.
"""

LATE, SILENT, SUSPECT, FAILED_PROVIDER, FAILED_REGION = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
NOT_PREFERRED, SLOW, WEAK = 4, 2, 1
REGION_PLACES = 256
"""Places that the order of regions has; what comes later shares the last one."""
_REGION_SHIFT = 3
_REGION_BITS = (REGION_PLACES - 1) << _REGION_SHIFT


def in_region(place: int) -> int:
    """Returns the bits of a target whose region is at `place` in the order, 0 first."""
    return min(place, REGION_PLACES - 1) << _REGION_SHIFT


def region_place(group: int) -> int:
    """Returns the place of the region in the order that the bits hold."""
    return (group & _REGION_BITS) >> _REGION_SHIFT
