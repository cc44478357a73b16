"""The use cases, one job each, over one state that they share: gathers what the core needs to know, asks it, keeps what
it says.

Everything here returns at once, and all of it runs on one event loop, so that a decision and what follows from it are
one step. `router.Router` makes the parts and has them know of one another.
"""
