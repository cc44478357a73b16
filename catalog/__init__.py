"""Makes the table of models that the server reads: prices of others, columns of our own."""
