"""Floor 1: values.  No I/O, no clock, no threads but those of the budget that all chunk lists share."""
