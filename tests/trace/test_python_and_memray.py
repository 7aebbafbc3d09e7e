"""One program by memray's capture and by our recorder: the requests that both see, line by line."""

import collections
import shutil
import subprocess
import sys

import pytest

from heapwright.api.selection import selected
from heapwright.compiler import INTERPRETED
from heapwright.managers.registry import runs_on
from heapwright.trace.importers import memray as importer
from heapwright.trace.schema import CALLOC, MALLOC, MALLOC_DOMAIN, OBJECT, REALLOC
from heapwright.trace.store import Trace
from recorded import all_events, run

pytest.importorskip("memray")
pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="stacks are known from 3.11 on"),
    pytest.mark.skipif(INTERPRETED, reason="a recording has too many events to go step by step"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
PROGRAM = """
import json
def build(count):
    return [{"number": number, "pair": (number, str(number))} for number in range(count)]
def run():
    for turn in range(3):
        made = build(2000 + turn)
        text = json.dumps(made)
        back = json.loads(text)
run()
"""


def requests(trace: Trace) -> collections.Counter:
    """How often each (size, lines below `run`) was asked for; memray does not tell which a realloc
    was, and names functions without their classes."""
    events, found = all_events(trace), collections.Counter()
    lines: dict[int, tuple] = {}
    for op, size, site in zip(
        events.op.tolist(), events.size.tolist(), events.site.tolist(), strict=True
    ):
        if op not in (MALLOC, CALLOC, REALLOC):
            continue
        if site not in lines:
            parted = [name.partition(" (") for name in trace.stack(site) if ".py:" in name]
            called = [name.rpartition(".")[2] for name, _, _ in parted]
            places = [place.rpartition("/")[2] for _, _, place in parted]
            below = called.index("run") if "run" in called else len(called)
            lines[site] = tuple(zip(called[below:], places[below:], strict=True))
        if lines[site]:
            found[size, lines[site]] += 1
    return found


def test_what_memray_sees_of_a_program_we_see_at_the_same_line(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "memray", "run", "-q", "--trace-python-allocators"]
    subprocess.run([*command, "-o", "capture.bin", program], cwd=tmp_path, check=True, timeout=120)
    importer.convert(tmp_path / "capture.bin", tmp_path / "memray.parquet", lambda share: None)
    theirs = Trace.open(tmp_path / "memray.parquet")
    status, ours = run(tmp_path, sys.executable, program)
    assert status == 0
    seen, told = requests(theirs), requests(ours)
    assert told.total() > 50_000
    # Free lists are filled by what ran before, which is memray's own code there: at most 2,000
    # tuples. Each frame that it looks at becomes an object.
    assert (seen - told).total() < 2_100 and (told - seen).total() < 300
    events = all_events(theirs)
    assert theirs.by_domain and {MALLOC_DOMAIN, OBJECT} <= set(events.domain.tolist())
    assert any("neither the version of Python nor the domain" in note for note in theirs.notes)
    assert selected(theirs, None)[0] == runs_on(python=True) == "pymalloc over glibc"
