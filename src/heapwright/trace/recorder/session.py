"""Run a program under the recorder and make traces of what it did.

    run ─► logs in .OUT.recording-XXXX/, beside OUT ─► traces ─► the folder goes

Whatever ends this process, what was recorded is in the folder: see `traces.py`, `recover`.
"""

import contextlib
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.control import controlled
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.parts import Parts
from heapwright.trace.recorder.run import executable, run
from heapwright.trace.recorder.traces import (
    Progress,
    Session,
    kept,
    logs_in,
    nothing,
    outlive,
    running,
    session_of,
    write_traces,
)
from heapwright.trace.recorder.watch import Watch
from heapwright.trace.recorder.wishes import PLAIN, Wishes

OUTLIVE_S = 10.0  # that `children` waits for processes which outlive the first one
_MALLOCS = re.compile("malloc|libhoard|libscudo|libmesh")  # as in exec.h


def _silent(sentence: str) -> None:
    pass


def record(  # noqa: PLR0913 what, then how; all but the first two are named
    command: Sequence[str],
    out: str | os.PathLike[str],
    *,
    children: bool = False,
    wishes: Wishes = PLAIN,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = _silent,
) -> tuple[int, list[Converted]]:
    """Run `command`, write its trace to `out`; its exit status (128 + n for signal n) and traces.

    `out` becomes the last program that the first process executed. With `children` every process
    image gets a trace beside it, `out`'s stem followed by process number and program; one that
    outlives the first process is waited for, OUTLIVE_S at most. `wishes` say what else is kept, and
    when; a recording that ends before the program is written then. Signals to this process reach
    the program, and what was recorded is kept. `progress` is called while converting, with the name
    of the trace and the fraction done; `say` with a sentence for who waits.

    HeapwrightError when the program cannot be run, made no event, or the disk refuses; then no
    trace is written.
    """
    out = Path(out)
    program = executable(command[0])
    preload = library()
    folder = folder_for(out)
    session = Session(list(command), out.name, children, recorder=os.getpid())
    told = {"HEAPWRIGHT_RECORD": f"{0 if children else os.getpid()}:{folder}"}

    def began(process: int) -> None:
        session.pid = process
        with contextlib.suppress(OSError):  # the program runs: a full disk is told at its end
            session.save(folder)

    parts: Parts | None = None
    with _left_to_others(folder, session), kept(folder), contextlib.ExitStack() as hold:
        try:
            session.save(folder)
            if wishes == PLAIN:
                status, _ = run(program, command, preloaded(environment, preload, told), began)
            else:
                page = hold.enter_context(controlled(folder))
                wishes.tell(page)
                parts = Parts(folder, session, out, wishes, say)
                watch = parts.watched(Watch(wishes, page))
                environment = preloaded(environment, preload, told)
                status, _ = run(program, command, environment, began, watch)
        except (HeapwrightError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if children and not session.ended:
            outlive(folder, OUTLIVE_S, say)
        converted = (
            parts.finish(progress) if parts else write_traces(folder, session, out, progress)
        )
    if not converted:
        why = nothing(folder, session)
        shutil.rmtree(folder, ignore_errors=True)
        raise HeapwrightError(
            f"recorded nothing of {command[0]} (it ended with status {status}): {why}"
            if not session.ended
            else f"recorded nothing of {command[0]}: it asked for no memory in that time"
        )
    return status, converted


def folder_for(out: Path) -> Path:
    """A new folder for the logs, beside the trace; HeapwrightError where there can be none."""
    if not out.parent.is_dir():
        raise HeapwrightError(f"cannot write {out}: there is no folder {out.parent}")
    if out.exists() and not out.is_file():
        raise HeapwrightError(f"{out} is not a regular file: give another output path")
    try:
        made = tempfile.mkdtemp(prefix=f".{out.name}.recording-", dir=out.parent.resolve())
    except OSError as error:
        raise HeapwrightError(f"cannot write {out}: {error.strerror}") from None
    return Path(made)


@contextlib.contextmanager
def _left_to_others(folder: Path, session: Session) -> Iterator[None]:
    """If the block fails and keeps the folder, nobody waits for the program any longer."""
    try:
        yield
    except HeapwrightError:
        session.recorder = 0
        with contextlib.suppress(OSError):
            session.save(folder)
        raise


def recover(
    left: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
) -> list[Converted]:
    """Write the traces of a recording that was left behind: its folder, a log in it, or the trace
    that it was to become.

    `out` by default lies where it was to lie. HeapwrightError when there is no recording.
    """
    folder = _left(Path(left))
    session = session_of(folder)
    logs = logs_in(folder)
    if not logs:
        raise HeapwrightError(f"{folder} holds no log: the program had made no event")
    # `record` was killed before the end of the program, which is the process that began first.
    session.pid = session.pid or min(logs, key=lambda log: log[2].stat().st_ino)[0]
    target = Path(out) if out is not None else folder.with_name(session.out)
    if not target.parent.is_dir():
        raise HeapwrightError(f"cannot write {target}: there is no folder {target.parent}")
    # While something still writes there it can be recovered once more, with what came later.
    waits = session.recorder > 0 and Path(f"/proc/{session.recorder}").exists()
    keep = waits or bool(running(folder))
    with kept(folder):
        return write_traces(folder, session, target, progress, keep)


def _left(given: Path) -> Path:
    """The folder of the recording that `given` names; of several for one trace the latest."""
    if given.is_dir():
        return given.resolve()
    if (given.parent / "session.json").exists():
        return given.parent.resolve()
    beside = list(given.absolute().parent.glob(f".{glob.escape(given.name)}.recording-*"))
    if not beside:
        raise HeapwrightError(
            f"no recording of {given} was left: give the folder .OUT.recording-... that "
            "`heapwright record` kept, or OUT"
        )
    return max(beside, key=lambda folder: folder.stat().st_mtime)


def preloaded(
    environment: Mapping[str, str] | None, preload: Path, told: Mapping[str, str]
) -> dict[str, str]:
    """The environment with `preload` first, and without other mallocs that it preloads."""
    given = dict(os.environ if environment is None else environment)
    named = [name for name in re.split("[: ]", given.get("LD_PRELOAD", "")) if name]
    mallocs = [name for name in named if _MALLOCS.search(os.path.basename(name))]
    others = [name for name in named if name not in mallocs]
    given["LD_PRELOAD"] = ":".join([str(preload), *others])
    if mallocs:
        given["HEAPWRIGHT_ASIDE"] = ":".join(mallocs)
    return {**given, **told}
