"""The operator's configuration: its schema, how it is loaded, and what the parts of the server are built from."""
