"""The kernel's own managers: of frames, of objects over them, of its address space, at boot."""
