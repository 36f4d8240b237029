"""The benchmark: fusefs against the programs people use today, on the same bytes from the same server."""
