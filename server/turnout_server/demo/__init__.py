"""The demonstration: simulated providers, a real sidecar in its own process, a client, a failure and the recovery.

play -> scene (cast and times) -> sidecar (process) -> traffic (client) -> record -> summary; shown by screen or lines.
Nothing printed is prepared: every figure, reason and event comes from the sidecar's answers, its log or our clock.
"""
