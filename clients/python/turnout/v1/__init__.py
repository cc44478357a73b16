"""Stubs of the contract, generated from `protos/turnout/v1`: see `make generate`."""
