"""Every fault of a provider through Turnout and, where they are installed, through others: what callers are told."""
