"""Floor 2: what the formats of model files say about where their tensors lie.  Values: no I/O, no clock, no trio."""
