"""Simulated providers: a real HTTP server on loopback that speaks the vendors' wires, slowly or wrongly on demand.

For the demonstration, for tests and for trying a configuration without a key. Everything it says is invented; how it
says it (status, headers, events, end markers, error bodies) is as the vendors do it.
"""
