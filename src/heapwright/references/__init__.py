"""The real systems, driven on the same trace, with the same result type.

systems    which libraries are known, which are here, what to install
harness    a fresh process with the real malloc, fed in lockstep (drive.c, aside.c)
measure    its memory, as a Result of kind "measured"
go         the Go runtime on the same trace (drive.go); go_build: its toolchain
called     the real malloc as a manager module, for the tunnel's loop to time
"""

from heapwright.references.measure import installed, measure
from heapwright.references.systems import Presence, available, version

__all__ = ["Presence", "available", "installed", "measure", "version"]
