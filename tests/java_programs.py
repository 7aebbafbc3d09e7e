"""A small Java program, recorded with the log of its own collections.

    python tests/java_programs.py      write managers/keys/java/ring.heap.parquet anew (make keys)

The key is a real recording of trace/Ring.java but for references and names, which take most of its
bytes. A JDK must be here.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from heapwright.trace.recorder.graph import record_graph
from heapwright.trace.schema import WRITE, Events
from heapwright.trace.store import Trace, TraceWriter

SOURCE = Path(__file__).parent / "trace" / "Ring.java"
KEY = Path(__file__).parent / "managers" / "keys" / "java" / "ring.heap.parquet"
COLUMNS = ("op", "slot", "size", "field", "target")
OPTIONS = ["-Xint", "-Xms4m", "-Xmx4m", "-Xmn1m", "-XX:+UseSerialGC"]
ARRAYS = 1500


def recorded(folder: Path, arrays: int = ARRAYS) -> Trace:
    """The program's recording, made now."""
    subprocess.run(["javac", "-d", str(folder), str(SOURCE)], check=True)
    command = ["java", *OPTIONS, "-cp", str(folder), "Ring", str(arrays)]
    out = folder / "ring.heap.parquet"
    status, _ = record_graph(command, out, look_every=500)
    assert status == 0
    return Trace.open(out)


def missing() -> str:
    """Why it cannot be recorded here; "" if it can."""
    return "" if shutil.which("java") and shutil.which("javac") else "no JDK is here"


def write_key() -> None:
    """The key, anew."""
    with tempfile.TemporaryDirectory() as name:
        trace = recorded(Path(name))
        KEY.parent.mkdir(exist_ok=True)
        with TraceWriter(KEY, program="Ring", notes=["References are left out."]) as out:
            out.facts.origin, out.collections = trace.origin, trace.collections()
            for batch in trace.batches(COLUMNS):
                kept = batch.op != WRITE
                out.write(Events(*(each[kept] if len(each) else each for each in batch)))


if __name__ == "__main__":
    write_key()
