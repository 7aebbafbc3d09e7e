"""Record a program's allocations: a preloaded C library writes a log, Python makes it a trace."""
