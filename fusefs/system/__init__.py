"""Floor 2: what we ask of the operating system.  Knows files, locks and descriptors; knows no cache."""
