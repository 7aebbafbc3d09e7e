"""A real program, run as it is and looked at from outside: what it had in memory through time.

    run(command, environment) ─► Run: anonymous memory through time, high-water mark, exit status
    held(run, moments)        ─► peak, mean, end of the heap: what lies outside of it is taken off

Nothing is put into the program, so that it runs exactly as the printed lines would have it run; but
for a thread that calls malloc_trim, where the advice is that the program does so itself. It ends
with us: were we killed, nobody would look at it or stop it any more.
Looked at is the process that is started, and of it the last program that it executed, as the
recorder has it; its children are not.

Exact      anonymous pages are the kernel's count, within 128 KiB a processor (proc(5) statm); a
           peak between two looks is made up for by the high-water mark of the process, less files
Source     proc(5) statm, status; Linux mm/percpu_counter: counted in steps of 32 pages
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.c_program import executable

PAGE_BYTES = 4096
LOOK_SECONDS = 0.001  # between two looks at first,
LOOKS = 2000  # and then a share of the time that passed: so many looks in each doubling, about
STOP_SECONDS = 10.0  # that a program has to end once it was told to
# Shares of the time before the end's moment between which the quietest look counts: what a program
# does as it leaves takes a little of its time, in one run more than in another
WINDOW = (0.06, 0.03)
ENDS_WITH_PARENT = 1  # prctl(2): PR_SET_PDEATHSIG
IMAGE_SECONDS = 0.1  # by then a program that only waits has loaded its libraries
_AREA = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<past>[0-9a-f]+) \S+ \S+ \S+ (?P<inode>\d+) *(?P<name>.*)"
)
SAID_CHARACTERS = 300  # of what a program that failed said last


@dataclass(frozen=True)
class Run:
    """One run, from its start to its end."""

    status: int  # of its exit; 128 + n for signal n
    seconds: float
    clock_ns: np.ndarray  # int64[look], since it was started
    anonymous: np.ndarray  # int64[look], bytes
    files: np.ndarray  # int64[look], bytes of files and shared memory
    high_water_bytes: int  # of all resident memory, at the last look
    said: str = ""  # the last it wrote to its standard error, if it failed
    stopped: bool = False  # by us, as its time was over


@dataclass(frozen=True)
class Moments:
    """Where a recording has the moments that a run is judged at; shares of its time."""

    end: float = 1.0  # until here there is what stays
    at: np.ndarray | None = None  # float64[sample], ascending
    outside: np.ndarray | None = None  # int64[sample], anonymous bytes that are not the heap's
    outside_at_peak: int = 0  # when all anonymous memory together was most


@dataclass(frozen=True)
class Held:
    """What the heap held in one run; bytes over the process's baseline."""

    peak_resident_bytes: int
    mean_resident_bytes: int
    end_resident_bytes: int
    seconds: float
    status: int


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """Run `command` with `environment` and nothing else; its output goes nowhere.

    After `seconds` it is sent SIGTERM. `progress` is told the seconds that passed. HeapwrightError
    when it cannot be started or is gone before it was looked at.
    """
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=dict(environment),
                preexec_fn=_tied(),  # noqa: PLW1509 it calls prctl and nothing else
            )
        except OSError as error:
            raise HeapwrightError(f"cannot run {command[0]}: {error.strerror}") from None
        try:
            looks, passed, stopped = _watch(process, seconds, progress)
        finally:
            _end(process)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()[-SAID_CHARACTERS:]
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if not looks:
        raise HeapwrightError(
            f"{command[0]} ended with status {status} before it could be looked at"
            + (f": {said}" if said else "")
        )
    clock, anonymous, files, high = np.array(looks, np.int64).T
    return Run(
        status, passed, clock, anonymous, files, int(high.max()), said if status else "", stopped
    )


def _watch(
    process: "subprocess.Popen[bytes]",
    seconds: float | None,
    progress: Callable[[float], None] | None,
) -> tuple[list[tuple[int, int, int, int]], float, bool]:
    """Look until it ends; only looks at the last program that it executed are kept."""
    looks: list[tuple[int, int, int, int]] = []
    image, stopped = "", False
    start = time.perf_counter_ns()
    proc = f"/proc/{process.pid}"
    while process.poll() is None:
        passed = time.perf_counter_ns() - start
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = os.readlink(f"{proc}/exe")
            _, resident, shared, *_ = _read(f"{proc}/statm").split()
            high = _read(f"{proc}/status").partition("VmHWM:")[2].split(maxsplit=1)[0]
            if now != image:
                image, looks = now, []
            files = int(shared) * PAGE_BYTES
            looks.append((passed, int(resident) * PAGE_BYTES - files, files, int(high) << 10))
        if progress:
            progress(passed / 1e9)
        if seconds is not None and passed > 1e9 * seconds and not stopped:
            process.terminate()
            stopped = True
        elif stopped and seconds is not None and passed > 1e9 * (seconds + STOP_SECONDS):
            process.kill()
        time.sleep(max(LOOK_SECONDS, passed / 1e9 / LOOKS))
    return looks, (time.perf_counter_ns() - start) / 1e9, stopped


def _tied() -> Callable[[], None]:
    """What a child calls before it executes the program: it is killed when we are."""
    call, ours = ctypes.CDLL(None).prctl, os.getpid()  # loaded here: a child may only call

    def tie() -> None:
        call(ENDS_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != ours:  # we were gone before
            os._exit(128 + signal.SIGKILL)

    return tie


def trimming(seconds: float) -> dict[str, str]:
    """The environment under which a program calls malloc_trim every so often, in a thread of its
    own; HeapwrightError without a compiler."""
    source = Path(__file__).with_name("trimming.c")
    flags = ("-O2", "-shared", "-fPIC", "-pthread")
    library = executable("a program that trims", "trimming", [source], [], flags)
    return {"LD_PRELOAD": str(library), "HEAPWRIGHT_TRIM_MS": str(max(1, round(1000 * seconds)))}


def image_bytes(environment: Mapping[str, str]) -> int:
    """What the data of the libraries takes that `environment` preloads, beside those of any
    program: anonymous pages of files, and of what follows them, in a program that only waits; 0
    where there is none, or the system does not tell."""
    program = shutil.which("sleep")
    if program is None or not environment.get("LD_PRELOAD"):
        return 0
    plain = {k: v for k, v in environment.items() if k != "LD_PRELOAD"}
    return max(0, _image_of(program, environment) - _image_of(program, plain))


def _image_of(program: str, environment: Mapping[str, str]) -> int:
    try:
        process = subprocess.Popen([program, "5"], env=dict(environment), stderr=subprocess.DEVNULL)
    except OSError:
        return 0
    try:
        time.sleep(IMAGE_SECONDS)
        text = _read(f"/proc/{process.pid}/smaps")
    except OSError:
        return 0
    finally:
        process.kill()
        process.wait()
    total, past, image = 0, "", False
    for line in text.splitlines():
        if found := _AREA.match(line):
            joined = image and found["start"] == past
            past, image = found["past"], found["inode"] != "0" or (joined and not found["name"])
        elif image and line.startswith("Anonymous:"):
            total += int(line.split()[1]) << 10
    return total


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave no process behind."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def held(run: Run, moments: Moments, image: int = 0) -> Held:
    """What the heap held in a run, at the moments of the recording; `image` bytes are data of
    libraries that it was given and the recording had not."""
    clock, heap = run.clock_ns, np.maximum(heap_bytes(run, moments) - image, 0)
    total = max(1.0, 1e9 * run.seconds)
    share = clock / total
    top = int(run.anonymous.argmax())
    unseen = run.high_water_bytes - int(run.files[-1]) - int(run.anonymous[top])
    beside = int(run.anonymous[0]) if moments.at is None else moments.outside_at_peak
    first, last = (moments.end - before for before in WINDOW)
    near = (share >= first) & (share <= last)
    if not near.any():
        near = np.arange(len(share)) == int(np.abs(share - last).argmin())
    lengths = np.diff(clock, append=max(int(clock[-1]) + 1, int(total)))
    return Held(
        peak_resident_bytes=max(0, int(run.anonymous[top]) + max(0, unseen) - beside - image),
        mean_resident_bytes=round(float(np.average(heap, weights=lengths))),
        end_resident_bytes=int(heap[near].min()),
        seconds=run.seconds,
        status=0 if run.stopped else run.status,
    )


def heap_bytes(run: Run, moments: Moments) -> np.ndarray:
    """int64[look]: anonymous memory less what the recording saw outside of the heap at that share
    of its time; where it did not look, less what was there at the first look."""
    if moments.at is None or moments.outside is None or not len(moments.at):
        outside = np.full(len(run.clock_ns), run.anonymous[0])
    else:
        share = run.clock_ns / max(1.0, 1e9 * run.seconds)
        outside = np.interp(share, moments.at, moments.outside)
    return np.maximum(run.anonymous - outside, 0).astype(np.int64)
