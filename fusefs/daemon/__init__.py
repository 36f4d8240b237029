"""Floor 8: a mount as a process: its set-up, its control socket, its signals, its log, its end."""
