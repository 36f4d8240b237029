"""Floor 4: what will be read next.  Pure policies: reads in, ranges out; no clock, no trio."""
