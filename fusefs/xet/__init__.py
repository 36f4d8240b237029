"""Floor 2: formats and hashes of Xet, in which the Hugging Face Hub keeps large files.  Pure: bytes in, values out."""
