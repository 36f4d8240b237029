"""Floor 7: the kernel's side: translates requests, maps errors to errnos, tunes the kernel."""
