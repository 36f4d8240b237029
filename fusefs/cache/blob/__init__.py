"""One blob in the cache: its bytes, its chunk map, its seal."""
