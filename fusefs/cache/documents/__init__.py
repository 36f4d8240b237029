"""What the cache keeps beside blobs: manifests by name, pins, traces."""
