"""Floor 9: what is done with a cache directory without a network and without a mount."""
