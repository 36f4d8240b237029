"""Floor 6: the file system without FUSE types: names, attributes, and reads that ensure first."""
