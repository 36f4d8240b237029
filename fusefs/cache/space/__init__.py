"""How much of its disk the cache may take, and what goes first."""
