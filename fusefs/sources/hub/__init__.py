"""The Hugging Face Hub: its listings, its files, and who may see them."""
