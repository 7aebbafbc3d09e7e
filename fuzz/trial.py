"""One input, one importer: the events must be sound, or the refusal one sentence.

Called with bytes in memory; what a trace writer checks of events is checked here as well.
"""

import importlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heapwright.errors import HeapwrightError
from heapwright.report.gc_log import collections_sheet, log_facts
from heapwright.trace import audit, gc_log
from heapwright.trace.gc_lines import KINDS
from heapwright.trace.importers.source import in_memory
from heapwright.trace.importers.sums import recognised

FORMATS = (
    "android",
    "csapp",
    "heaptrack",
    "mtrace",
    "valgrind",
    "logalloc",
    "ltrace",
    "ftrace",
    "ring_pages",
    "tabular",
    "gc_log",
)
_FOLDER = Path(__file__).parent / "corpus"


def _table() -> bytes:
    """A Parquet table of events."""
    columns = {
        "op": ["malloc", "calloc", "realloc", "free"],
        "object": [16, 32, 48, 32],
        "old": [0, 0, 16, 0],
        "size": [5, 6, 7, 0],
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


CORPUS = {
    name: [path.read_bytes() for path in sorted(_FOLDER.glob(f"{name}*"))] for name in FORMATS
}
CORPUS["tabular"].append(_table())


def trial(name: str, content: bytes) -> int:
    """Import `content` as format `name`; returns the number of events, 0 for a refusal.

    AssertionError for events that no trace may hold and for a refusal that is not one sentence.
    """
    if name == "gc_log":
        return _trial_of_log(content)
    module = importlib.import_module(f"heapwright.trace.importers.{name}")
    module.recognises(content[:4096], Path("recording"))
    if content.startswith(b"PAR1") and content not in CORPUS[name]:
        return 0  # Arrow's to read, which `import_table` leaves to a process of its own
    made, slots, threads = 0, 0, 0
    live = np.zeros(1, np.uint8)
    try:
        # Half of the inputs in the way that has more to it.
        guess = [len(content) % 2 == 1] if "GUESSES_REALLOCS" in vars(module) else []
        reading = module.reading(in_memory(content), *guess)
        for batch in reading.events():
            made += len(batch.op)
            slots = max(slots, int(batch.slot.max()) + 1)
            threads = max(threads, int(batch.thread.max(initial=0)) + 1)
            if "slot" in content.decode("latin-1"):
                continue  # a table's own slots: the trace writer refuses unsound ones
            assert slots <= made and threads <= made, "slots or threads are not dense"
            live = np.concatenate([live, np.zeros(max(slots - len(live), 0), np.uint8)])
            fault = audit.first_unsound(batch, live, slots, threads)
            assert fault is None, f"event {fault} is unsound"
        labels, notes = reading.labels(), reading.notes()
        assert all("\n" not in note for note in notes)
        assert all(isinstance(label, str) for label in labels)
    except HeapwrightError as refusal:
        assert "\n" not in str(refusal).strip() and len(str(refusal)) < 2000
        return 0
    return made


def _trial_of_log(content: bytes) -> int:
    """Read `content` as a JVM's log, which is no trace: the collections."""
    recognised(content[:4096])
    try:
        log = gc_log.reading(in_memory(content))
    except HeapwrightError as refusal:
        assert "\n" not in str(refusal).strip() and len(str(refusal)) < 2000
        return 0
    known = log.summary()
    json.dumps(known)
    assert all(fact.text for fact in log_facts(known)) and collections_sheet(known).rows
    for each in log.collections:
        assert min(each.before_bytes, each.after_bytes, each.heap_bytes, each.pause_ns) >= 0
        assert each.kind in KINDS and "\n" not in each.cause
    return len(log.collections)
