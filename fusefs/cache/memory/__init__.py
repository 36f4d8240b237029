"""What of the blobs lies in memory, in one budget."""
