"""Files on a web server or in a bucket as the blobs of a model: a list of digests beside them says what they are."""
