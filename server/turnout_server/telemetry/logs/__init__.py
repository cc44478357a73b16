"""Lines: the log on stderr, and the request log."""
