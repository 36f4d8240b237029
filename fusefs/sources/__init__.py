"""Floor 4: where manifests, chunk lists and bytes come from.  Blocking; knows nothing of the cache or of trio."""
