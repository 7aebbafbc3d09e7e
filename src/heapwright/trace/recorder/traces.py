"""From the folder of a recording to traces: after the program's end, or long after, by `recover`.

    .OUT.recording-XXXX/  session.json   what was asked for
                          PID.IMAGE      the log of one process image, PID.IMAGE.proc beside it
                          others         numbers of processes that were not recorded

The folder lies beside the trace and goes when the traces are written. What ends `heapwright record`
before that leaves it, and it holds all that is needed.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from heapwright.errors import HeapwrightError
from heapwright.trace.notes import ELSEWHERE, RUNNING, STOPPED, Note
from heapwright.trace.recorder.absent import own_allocator, why_absent
from heapwright.trace.recorder.convert import Converted, convert
from heapwright.trace.recorder.log import Log, history
from heapwright.words import bytes_text

Progress = Callable[[str, float], None]
SESSION_BYTES = 1 << 20
POLL_S = 0.05
_LOG = re.compile(r"(\d{1,10})\.(\d{1,10})")


@dataclasses.dataclass
class Session:
    """What was asked for, and of which process."""

    command: list[str]
    out: str  # name of the main trace, beside the folder
    children: bool
    pid: int = 0  # of the first process
    recorder: int = 0  # the process that waits for it
    ended: str = ""  # why the recording ended before the program: words of a sentence
    notes: list[str] = dataclasses.field(default_factory=list)  # of its end; not kept

    def save(self, folder: Path) -> None:
        """Keep it with the logs: whole, or as it was."""
        beside = folder / "session.json.partial"
        beside.write_text(json.dumps(dataclasses.asdict(self)))
        os.replace(beside, folder / "session.json")


def session_of(folder: Path) -> Session:
    """The session whose logs lie in `folder`; HeapwrightError when it is none."""
    try:
        with (folder / "session.json").open() as file:
            text = json.loads(file.read(SESSION_BYTES))
        session = Session(**text)
        sound = all(isinstance(word, str) for word in [*session.command, session.out])
        sound = sound and isinstance(session.ended, str)
        sound = sound and type(session.pid) is type(session.recorder) is int
        if not sound or not session.command or Path(session.out).name != session.out:
            raise ValueError
    except (OSError, ValueError, TypeError):
        raise HeapwrightError(
            f"{folder} is no recording: give the folder that `heapwright record` left, "
            ".OUT.recording-..., or a log in it"
        ) from None
    return session


def logs_in(folder: Path) -> list[tuple[int, int, Path]]:
    """(process number, image number, path) of each log that found room on the disk."""
    found = []
    for path in folder.iterdir():
        match = _LOG.fullmatch(path.name)
        if match and path.stat().st_size:
            found.append((int(match[1]), int(match[2]), path))
    return sorted(found)


def running(folder: Path) -> list[int]:
    """Processes that write to a log in `folder`, or would if they allocated, in ascending order.

    The environment that a process was given names the folder, also in a child that it forked; one
    whose environment was taken away is known by its log.
    """
    name = os.fsencode(folder.resolve())
    logged = {pid for pid, _, _ in logs_in(folder)}
    found = []
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdecimal()):
        sources = ["environ", "maps"] if pid in logged else ["environ"]
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(name in Path(f"/proc/{pid}/{source}").read_bytes() for source in sources):
                found.append(pid)
    return found


def outlive(folder: Path, patience_s: float, say: Callable[[str], None]) -> None:
    """Wait for processes that outlive the first one, for a while or until Ctrl-C."""
    until = time.monotonic() + patience_s
    told = False
    with contextlib.suppress(KeyboardInterrupt):
        while (left := running(folder)) and time.monotonic() < until:
            if not told:
                names = ", ".join(map(str, left))
                say(
                    f"waiting up to {patience_s:g} s for what outlives the program, process "
                    f"{names}; Ctrl-C ends the wait"
                )
                told = True
            time.sleep(POLL_S)


def write_traces(
    folder: Path,
    session: Session,
    out: Path,
    progress: Progress | None = None,
    keep: bool = False,
) -> list[Converted]:
    """Write the traces of the logs in `folder`, the main one to `out`; the folder goes then,
    unless it is to be kept.

    HeapwrightError, and the folder stays, when the disk refuses.
    """
    logs = logs_in(folder)
    own = [log for log in logs if log[0] == session.pid]
    if not own and not (session.children and logs):
        return []
    main = own[-1] if own else logs[0]
    chosen = [main, *(log for log in logs if session.children and log != main)]
    live = running(folder)
    notes = [*_elsewhere(folder, session, main, bool(own)), *session.notes]
    if own[:-1] and not session.children:
        notes.append(_images_before(own))
    silent = sorted(set(live) - {pid for pid, _, _ in logs})
    if silent and session.children:
        notes.append(
            Note(
                "Still running and not recorded, as they had not allocated: process "
                f"{', '.join(map(str, silent))}.",
                RUNNING,
                len(silent),
            )
        )
    ancestors = {log[2]: [one.path for one in history(Log(log[2]))] for log in chosen}
    converted = []
    try:
        for log in chosen:
            executable = Log(log[2]).executable
            target = out if log == main else _beside(out, log, os.path.basename(executable))
            # By the name it was called by: an executable may have several.
            program = shutil.which(session.command[0]) or ""
            called = log in own and os.path.realpath(program) == executable
            converted.append(
                convert(
                    log[2],
                    target,
                    program=Path(session.command[0]).name if called else "",
                    progress=progress and partial(progress, target.name),
                    notes=[
                        *(notes if log == main else ()),
                        *_own_notes(executable, log[0] in live, session.ended),
                    ],
                )
            )
            del ancestors[log[2]]
            if (
                not keep
                and log[0] not in live
                and not any(log[2] in kept for kept in ancestors.values())
            ):
                log[2].unlink()
    except HeapwrightError as error:
        raise HeapwrightError(
            f"{str(error).rstrip('.')}; "
            f"the recording is kept: `heapwright recover {folder} -o OUT` writes it"
        ) from None
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return converted


def nothing(folder: Path, session: Session) -> str:
    """Why there is no log of the first process: a sentence's end."""
    if any(_LOG.fullmatch(path.name) and not path.stat().st_size for path in folder.iterdir()):
        free = bytes_text(shutil.disk_usage(folder).free)
        return (
            f"its log could not begin in {folder.parent}, where {free} are free: make room, give "
            "another --output, or raise a limit on the size of files (`ulimit -f`)"
        )
    executed = ""
    for _, _, path in logs_in(folder):
        executed = executed or Log(path).executed
    why = why_absent(executed or session.command[0])
    return f"{why}. {begun}" if (begun := _not_followed(_others(folder))) else why


def _elsewhere(folder: Path, session: Session, main: tuple[int, int, Path], own: bool) -> list[str]:
    """What of the program is in no trace."""
    notes: list[str] = []
    log = Log(main[2])
    if not own:
        notes.append(
            Note(
                f"{session.command[0]} itself was not recorded: "
                f"{why_absent(session.command[0])}. This is the trace of a process that it began.",
                ELSEWHERE,
                1,
            )
        )
    if log.executed:
        notes.append(
            Note(
                f"The process then became {log.executed}, which was not recorded: "
                f"{why_absent(log.executed)}.",
                ELSEWHERE,
                1,
            )
        )
    if others := _others(folder):
        notes.append(Note(_not_followed(others), ELSEWHERE, others))
    return notes


def _images_before(own: list[tuple[int, int, Path]]) -> Note:
    """The first process executed another program: of each but the last nothing is kept."""
    names = [os.path.basename(Log(path).executable) for _, _, path in own]
    return Note(
        f"The process was {', then '.join(names[:-1])} before it became {names[-1]}: what was "
        "asked for until then is not in it; `record --children` gives each program a trace.",
        ELSEWHERE,
        len(names) - 1,
    )


def _others(folder: Path) -> int:
    """How many processes allocated that were not followed."""
    try:
        return len(set((folder / "others").read_text().split()))
    except OSError:
        return 0


def _not_followed(others: int) -> str:
    """A sentence on them; "" where there are none."""
    if not others:
        return ""
    what = "process that it began was" if others == 1 else "processes that it began were"
    return f"{others:,} {what} not recorded: `record --children` gives each a trace."


def _own_notes(executable: str, live: bool, ended: str) -> list[str]:
    notes: list[str] = []
    if ended:
        notes.append(Note(f"The recording ends before the program does, {ended}.", STOPPED))
    elif live:
        notes.append(
            Note(
                "The process was still running when this was written: what it did later is not "
                "in it.",
                RUNNING,
            )
        )
    if owner := own_allocator(executable):
        notes.append(
            Note(
                f"{os.path.basename(executable)} has an allocator of its own, {owner}: what that "
                "serves is not in the recording, only what asks glibc.",
                ELSEWHERE,
            )
        )
    return notes


def _beside(out: Path, log: tuple[int, int, Path], program: str) -> Path:
    """Where the trace of another process image than `out`'s goes."""
    pid, image, _ = log
    suffix = ".heap.parquet" if out.name.endswith(".heap.parquet") else out.suffix
    number = f"{pid}" if image == 1 else f"{pid}.{image}"
    return out.with_name(f"{out.name.removesuffix(suffix)}.{number}.{program}{suffix}")


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the block: the logs stay, and how to go on is said."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {
            number: signal.signal(number, _stop)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
            if signal.getsignal(number) not in (signal.SIG_IGN, None)
        }
    try:
        yield
    except KeyboardInterrupt:
        if folder.exists() and logs_in(folder):
            raise HeapwrightError(
                "stopped while the trace was written; the recording is kept: `heapwright recover "
                f"{folder}` writes it"
            ) from None
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
