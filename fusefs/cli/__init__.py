"""Floor 10: the terminal: what a person wrote, and how a command answers."""
