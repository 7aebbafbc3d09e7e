"""CPython's own pymalloc, driven with the events of a trace.

build      libpython, found; the driver (drive.c) built
driver     the process, fed and asked
agreement  its twin beside it: every address relative to its arena, arenas made and given back
"""
