"""Floor 2: what a registry's documents mean.  Pure: bytes in, values out."""
