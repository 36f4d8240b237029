"""Floor 5: the kernel's side: translates requests, maps errors to errnos, tunes the kernel."""
