"""A Python that begins with a call of ours, and says at its end how often it collected.

    a folder with sitecustomize.py, first in PYTHONPATH ─► the interpreter's own, then the call
    at exit ─► gc.get_stats(), /proc/self/smaps into a file: how often it collected, what of it lies
               in no heap

Omits      interpreters that do not look for sitecustomize (-I, -S), and os._exit: they say nothing
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from heapwright.references.program import image_in

CODE, TOLD = "HEAPWRIGHT_START", "HEAPWRIGHT_COLLECTIONS"
FIRST = f'''
import atexit, gc, os, sys
ours = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != ours]
del sys.modules["sitecustomize"]
try:
    import sitecustomize
except ImportError:
    pass
def told(path=os.environ.pop("{TOLD}", None), pid=os.getpid()):
    if path and pid == os.getpid():
        with open(path, "w") as file:
            file.write(str(sum(one["collections"] for one in gc.get_stats())) + "\\n")
            with open("/proc/self/smaps") as areas:
                file.write(areas.read())
atexit.register(told)
exec(os.environ.pop("{CODE}", ""))
'''


class Said(NamedTuple):
    """What a Python said at its end."""

    collections: int
    outside_bytes: int  # data of its image and its libraries'


@contextlib.contextmanager
def started(around: Mapping[str, str], code: str) -> Iterator[tuple[dict[str, str], list[Said]]]:
    """The environment under which a Python does `code`, in which gc is known, before it begins; and
    a list that holds, behind the block, what it said, if it did."""
    found: list[Said] = []
    with tempfile.TemporaryDirectory(prefix="heapwright-start-") as folder:
        Path(folder, "sitecustomize.py").write_text(FIRST)
        said = Path(folder, "collections")
        places = [folder, *filter(None, [around.get("PYTHONPATH")])]
        yield (
            {**around, "PYTHONPATH": os.pathsep.join(places), CODE: code, TOLD: str(said)},
            found,
        )
        with contextlib.suppress(OSError, ValueError):
            count, _, smaps = said.read_text().partition("\n")
            found.append(Said(int(count), image_in(smaps)))
