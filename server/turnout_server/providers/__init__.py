"""Speaks to providers: one file per wire format, one shared HTTP transport, one table of failures."""
