"""Floor 7: from names to models whose bytes arrive; what a mount and a pull have in common."""
