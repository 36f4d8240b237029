"""Floor 5: makes chunks present.  Decides what is fetched, in what order, how many at once, and who waits."""
