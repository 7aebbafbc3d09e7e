"""Plain data out of a pickle that nobody vouches for: dicts, lists, tuples, numbers, strings.

A pickle is a program. Here it may name nothing: a class or a function, whatever it is, ends it with
a sentence. A few bytes can ask for much memory: who reads one does so in a process of its own that
may have only so much (`limited`), so a bomb takes nobody with it.
"""

import importlib
import io
import pickle
from typing import Any, BinaryIO

_REFUSED = "it names {}, and plain data names nothing: it is no snapshot, or one made to do harm"
LEAST_BYTES, EXPANSION = 1 << 30, 60  # a dict of a few small values is so many times its pickle
FAULTS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError),
    *(TypeError, ValueError, MemoryError, OverflowError, RecursionError, UnicodeError),
)


class Refused(ValueError):
    """A pickle that is more than data."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise Refused(_REFUSED.format(f"{module}.{name}"[:80]))

    def persistent_load(self, pid: Any) -> Any:
        raise Refused(_REFUSED.format("an object outside it"))


def plain(file: BinaryIO) -> Any:
    """What the pickle holds; Refused, or one of FAULTS for what is damaged."""
    return _Plain(file).load()


def limited(file_bytes: int) -> None:
    """This process may have so much address space: what it has, and what such a file can need.

    Only Linux says how much it has; elsewhere there is no such limit."""
    try:
        with open("/proc/self/statm") as told:
            pages = int(told.read().split()[0])
        resource = importlib.import_module("resource")
    except (OSError, ImportError):
        return
    most = pages * resource.getpagesize() + LEAST_BYTES + EXPANSION * file_bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [each for each in (most, soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))


def loads(content: bytes) -> Any:
    """Likewise, of bytes."""
    return plain(io.BytesIO(content))
