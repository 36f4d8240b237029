"""Floor 4: the backing cache on disk.  Knows blobs, chunks and files; knows nothing of the network or of trio."""
