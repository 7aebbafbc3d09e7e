"""Record the object graph of a CPython or Java program as a graph trace.

    command ─► graph*.c preloaded ─► log: births, deaths; references and roots at each look
            ─► graph_convert.py, rows to rows ─► Mutator ─► the trace

The log knows births and deaths exactly and references only at its looks. What is told to the
Mutator, so that an object is reachable exactly while it lives:

    birth      a global root holds the block until the next look
    look       roots and references become what was seen; what cannot be reached from them dies,
               but for what a later look finds again: a root holds that meanwhile
    deaths     those between two births are one event: what still referred to the dead is cleared,
               and a root holds what only the dead referred to, until the next look

Bounded: the recorder's books in the program, by a limit that ends the recording; its log, by the
same; the conversion, by the blocks alive at once. What is known of each birth lies in files.

Omits      blocks of C's malloc and of other allocators; references from other threads' C stacks;
           when between two looks a reference changed; subinterpreters
"""

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.graph_convert import convert
from heapwright.trace.recorder.java import heap_options, is_java, java_agent, with_agent
from heapwright.trace.recorder.java_told import JavaTold
from heapwright.trace.recorder.run import executable, run
from heapwright.trace.recorder.session import preloaded

LOOK_EVERY = 10_000  # births
LIMIT_BYTES = 1 << 30
LEAST_BYTES = 8 << 20  # of a limit: the books begin with five
LOG_TIMES = 8  # the log may be so many times longer


def record_graph(
    command: Sequence[str],
    out: str | os.PathLike[str],
    *,
    look_every: int = LOOK_EVERY,
    limit_bytes: int = LIMIT_BYTES,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[int, Converted]:
    """Run `command`, write the graph of the first CPython in it, or of `java` if it is that, to
    `out`: exit status, and what.

    There is a look at the references once in `look_every` births, or in half as many births as
    there are live blocks if that is more, and not before the program has run as long as the last
    look took. The recorder takes at most `limit_bytes` of the program's memory and LOG_TIMES as
    much of the disk, beside `out`; what would take more ends the recording, and the trace says so.
    `progress` is called while converting, with the fraction done. HeapwrightError when the program
    cannot be run, is no CPython, or the disk refuses.
    """
    out = Path(out)
    program = executable(command[0])
    java, told_as = is_java(program), shlex.join(command)
    if limit_bytes < LEAST_BYTES:
        raise HeapwrightError(
            f"--limit {limit_bytes:,} is too little for the recorder of graphs: give at least "
            f"{LEAST_BYTES:,} bytes"
        )
    preload = java_agent(program, command) if java else library("graph")
    if not out.parent.is_dir():
        raise HeapwrightError(f"cannot write {out}: there is no folder {out.parent}")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent.resolve()) as name:
        log = Path(name) / "log"
        told = {
            "HEAPWRIGHT_GRAPH": str(log),
            "HEAPWRIGHT_GRAPH_EVERY": str(look_every),
            "HEAPWRIGHT_GRAPH_BOOKS": str(limit_bytes),
            "HEAPWRIGHT_GRAPH_LOG": str(LOG_TIMES * limit_bytes),
        }
        if java:
            told["HEAPWRIGHT_GRAPH_TOLD"] = str(java_facts := Path(name) / "told")
            status, _ = run(
                program,
                with_agent(command, preload, Path(name) / "gc.log"),
                {**(os.environ if environment is None else environment), **told},
            )
            if log.exists() and log.stat().st_size:
                options = " ".join(heap_options(command))
                of = JavaTold.read(java_facts, Path(name) / "gc.log", options)
                return status, convert(
                    log, out, "java", look_every, progress=progress, java=of, command=told_as
                )
            raise HeapwrightError(
                f"recorded no graph of {command[0]}: it ended with status {status} before Java was "
                "up; see what it says without heapwright"
            )
        status, _ = run(program, command, preloaded(environment, preload, told))
        if not log.exists() or not log.stat().st_size:
            raise HeapwrightError(
                f"recorded no graph of {command[0]} (it ended with status {status}): --graph "
                "records what CPython or java allocates, and no CPython ran in it to its end; of "
                "Java name the java command itself"
            )
        return status, convert(
            log, out, Path(command[0]).name, look_every, progress=progress, command=told_as
        )
