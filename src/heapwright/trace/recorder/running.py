"""Record a process that runs already: get in, wait, get out, write the trace.

target ─► heapwright_attach ─ until it is time, Ctrl-C, or its end ─► heapwright_detach ─► trace
"""

import contextlib
import os
import select
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from heapwright.errors import HeapwrightError
from heapwright.trace.notes import ELSEWHERE, Note
from heapwright.trace.recorder.attach import PATIENCE_S, Target, target, why_not_recorded
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.control import OWNER, STATE, STOP, Control, controlled
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.parts import Parts
from heapwright.trace.recorder.session import folder_for
from heapwright.trace.recorder.traces import Progress, Session, kept
from heapwright.trace.recorder.watch import TICK_S, Watch
from heapwright.trace.recorder.wishes import PLAIN, Wishes

ENDS_IT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _silent(sentence: str) -> None:
    pass


def record_running(
    pid: int,
    out: str | os.PathLike[str] | None = None,
    *,
    children: bool = False,
    wishes: Wishes = PLAIN,
    progress: Progress | None = None,
    say: Callable[[str], None] = _silent,
) -> list[Converted]:
    """Attach to process `pid`, record it, detach, write its trace to `out`; what was written.

    The recording ends with the process, when `wishes` ask for it, or by SIGINT, SIGTERM or SIGHUP;
    the process runs on. With `children` what it forks meanwhile gets traces too. `out` is by
    default the program's name with `.heap.parquet`. HeapwrightError when it cannot be attached to,
    or made no request.
    """
    found = target(pid)
    out = Path(out or f"{found.name}.heap.parquet")
    recorder = library()
    folder = folder_for(out)
    session = Session([found.name], out.name, children, pid=pid, recorder=os.getpid())
    with kept(folder), controlled(folder) as page, _heard() as ends:
        try:
            session.save(folder)
            wishes.tell(page, waits=False)
            page[OWNER] = os.getpid()
            parts = Parts(folder, session, out, wishes, say)
            watch = parts.watched(Watch(wishes, page, attaching=True), at_once=False)
            with _copied(recorder, folder, pid) as copy:
                begun = _wait_to_begin(found, watch, ends)
                if begun:
                    _begin(found, copy, folder, children)
                    say(f"recording process {pid}, {found.name}; Ctrl-C ends the recording, not it")
                    notes = _until_end(found, watch, ends, copy, page)
        except (HeapwrightError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)
            raise HeapwrightError(f"recorded nothing of process {pid}: it was not yet time")
        session.notes = notes
        written = parts.finish(progress)
    if not any(one.events for one in written):
        for one in written:
            one.path.unlink(missing_ok=True)
        raise HeapwrightError(
            f"recorded nothing of process {pid}: it asked for no memory in that time"
        )
    return written


class _Ends:
    """What came of signals."""

    def __init__(self) -> None:
        self.came = 0  # a signal that ends the recording
        self.watch: Watch | None = None


@contextlib.contextmanager
def _heard() -> Iterator[_Ends]:
    """Signals end the recording in order, or are the watch's; nothing is raised."""
    ends = _Ends()
    if threading.current_thread() is not threading.main_thread():
        yield ends
        return

    def came(number: int, frame: FrameType | None) -> None:
        if ends.watch and number == ends.watch.toggle:
            ends.watch.signalled()
        elif number in ENDS_IT:
            ends.came = number

    numbers = (*ENDS_IT, signal.SIGUSR1, signal.SIGUSR2)
    before = {n: signal.signal(n, came) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield ends
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def _copied(recorder: Path, folder: Path, pid: int) -> Iterator[Path]:
    """The recorder as a file of its own, so that the process loads it anew: an earlier one stays in
    it, and does nothing. Whoever the process runs as may read it, and write the log."""
    copy = folder.with_name(folder.name.replace(".recording-", ".recorder-") + ".so")
    shutil.copyfile(recorder, copy)
    copy.chmod(0o755)
    try:
        owner = os.stat(f"/proc/{pid}")
        if os.geteuid() == 0 and owner.st_uid != 0:
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner.st_uid, owner.st_gid)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _wait_to_begin(found: Target, watch: Watch, ends: _Ends) -> bool:
    """Whether it is time; False when the person or the process ended it before."""
    ends.watch = watch
    while not watch.began:
        watch.tick()
        if ends.came or _gone(found.pid, 0 if watch.began else TICK_S):
            return False
    return True


def _begin(found: Target, copy: Path, folder: Path, children: bool) -> None:
    """HeapwrightError, and the process is as it was, when it cannot be."""
    argument = ("+" if children else "-") + str(folder)
    answer = found.call(copy, "heapwright_attach", argument, PATIENCE_S)
    if answer:
        raise HeapwrightError(why_not_recorded(found, answer))


def _until_end(found: Target, watch: Watch, ends: _Ends, copy: Path, page: Control) -> list[str]:
    """Wait, then get out of the process if there still is one; notes about that."""
    while not _gone(found.pid, TICK_S):
        watch.tick()
        if ends.came:
            watch.stop(f"as asked by {signal.Signals(ends.came).name}")
        if watch.ended or page[STATE] == STOP:
            break
    else:
        return []
    if not _loaded(found.pid, copy):  # it executed another program, which we are not in
        became = _executable(found.pid)
        return [Note(f"The process then became {became}, which was not recorded.", ELSEWHERE, 1)]
    try:
        found.call(copy, "heapwright_detach", "", PATIENCE_S)
    except HeapwrightError as error:
        if _gone(found.pid, 0):
            return []
        page[STATE] = STOP
        return [
            Note(
                f"The recorder stays in the process, passing requests on without noting them: "
                f"{error}.",
                "attached",
            )
        ]
    return []


def _gone(pid: int, patience_s: float) -> bool:
    """Whether the process ends within that time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([handle], [], [], patience_s)
    finally:
        os.close(handle)
    return bool(ready)


def _loaded(pid: int, copy: Path) -> bool:
    with contextlib.suppress(OSError):
        return str(copy.resolve()) in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    return False


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return "another program"
