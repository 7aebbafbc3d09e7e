"""A real program, run as it is and looked at from outside: what it had in memory through time.

    run(command, environment) ─► Run: anonymous memory through time, high-water mark, exit status
    held(run, moments)        ─► peak, mean, end of the heap: what lies outside of it is taken off

Judged at its end is what it holds while it rests, where the recorded program rested: processor time
tells when it does. Of another one it is the same share of its time.

Nothing is put into the program, so that it runs exactly as the printed lines would have it run; but
for a thread that calls malloc_trim, where the advice is that the program does so itself. It ends
with us: were we killed, nobody would look at it or stop it any more.
Looked at is the process that is started, and of it the last program that it executed, as the
recorder has it; with `children` each process that it forks as well, which must outlive a look.

Exact      anonymous pages are the kernel's count, within 128 KiB a processor (proc(5) statm); a
           peak between two looks is made up for by the high-water mark of the process, less files
Source     proc(5) statm, status; Linux mm/percpu_counter: counted in steps of 32 pages
"""

import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
REST_NS, RESTS = 50_000_000, 20  # a rest: so long, and one part in so many of its time
IDLE_SHARE = 0.2  # of the processor between two looks: less is no work
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
ENDS_WITH_PARENT = 1  # prctl(2): PR_SET_PDEATHSIG
IMAGE_SECONDS = 0.1  # by then a program that only waits has loaded its libraries
_AREA = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<past>[0-9a-f]+) \S+ \S+ \S+ (?P<inode>\d+) *(?P<name>.*)"
)
ELF_64, ELF_HEAD, ELF_LOAD = b"\x7fELF\x02\x01", 64, 1  # of 64 bits, its least byte first
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
    worked_ns: np.ndarray | None = None  # int64[look], processor time by then; None: not known
    children: tuple["Run", ...] = ()  # in the order in which they began

    def rest(self) -> tuple[int, int]:
        """The first and the last look of its last rest: no processor time for a twentieth of its
        time, and what comes behind takes no longer; (-1, -1) where it did not rest."""
        if self.worked_ns is None or len(self.clock_ns) < 2:
            return -1, -1
        whole = int(self.clock_ns[-1])
        idle = np.diff(self.worked_ns) <= IDLE_SHARE * np.diff(self.clock_ns)
        edges = np.flatnonzero(np.diff(idle, prepend=False, append=False))
        first, last = edges[::2], edges[1::2]
        took = self.clock_ns[last] - self.clock_ns[first]
        long = took >= max(REST_NS, whole // RESTS)
        telling = np.flatnonzero(long & (whole - self.clock_ns[last] <= took))
        return (int(first[telling[-1]]), int(last[telling[-1]])) if len(telling) else (-1, -1)


@dataclass(frozen=True)
class Moments:
    """Where a recording has the moments that a run is judged at; shares of its time."""

    end: float = 1.0  # until here there is what stays
    at: np.ndarray | None = None  # float64[sample], ascending
    outside: np.ndarray | None = None  # int64[sample], anonymous bytes that are not the heap's
    outside_at_peak: int = 0  # when all anonymous memory together was most
    rested: bool = False  # whether the program rested at its end


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
    children: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """Run `command` with `environment` and nothing else; its output goes nowhere.

    After `seconds` it is sent SIGTERM. With `children` what it forks is looked at too. `progress`
    is told the seconds that passed. HeapwrightError when it cannot be started or is gone before it
    was looked at.
    """
    start = time.perf_counter()
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
            seen, stopped = _watch(process, seconds, children, progress)
            passed = time.perf_counter() - start
        finally:
            _end(process)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()[-SAID_CHARACTERS:]
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if not seen[0].rows:
        raise HeapwrightError(
            f"{command[0]} ended with status {status} before it could be looked at"
            + (f": {said}" if said else "")
        )
    return replace(
        seen[0].run(),
        status=status,
        seconds=passed,
        said=said if status else "",
        stopped=stopped,
        children=tuple(looks.run() for looks in seen[1:] if looks.rows),
    )


class Looks:
    """What was seen of one process, of the last program that it executed."""

    def __init__(self, pid: int, start_ns: int) -> None:
        self.pid, self.start_ns, self._image = pid, start_ns, ""
        self.rows: list[tuple[int, int, int, int, int]] = []

    def look(self) -> None:
        """Look once; what is gone is not seen."""
        proc, passed = f"/proc/{self.pid}", time.perf_counter_ns() - self.start_ns
        with contextlib.suppress(OSError, ValueError, IndexError):
            now = os.readlink(f"{proc}/exe")
            _, resident, shared, *_ = _read(f"{proc}/statm").split()
            high = _read(f"{proc}/status").partition("VmHWM:")[2].split(maxsplit=1)[0]
            worked = sum(map(int, _read(f"{proc}/stat").rpartition(")")[2].split()[11:13]))
            if now != self._image:
                self._image, self.rows = now, []
            files = int(shared) * PAGE_BYTES
            anonymous = int(resident) * PAGE_BYTES - files
            self.rows.append((passed, anonymous, files, int(high) << 10, worked * TICK_NS))

    def children(self) -> list[int]:
        """Those that its threads forked and that are there."""
        found: list[int] = []
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                found += map(int, _read(f"/proc/{self.pid}/task/{thread}/children").split())
        return found

    def run(self) -> Run:
        """All that was seen, from the process's first look on."""
        clock, anonymous, files, high, worked = np.array(self.rows, np.int64).T
        return Run(
            0, float(clock[-1]) / 1e9, clock, anonymous, files, int(high.max()), worked_ns=worked
        )


def _watch(
    process: "subprocess.Popen[bytes]",
    seconds: float | None,
    children: bool,
    progress: Callable[[float], None] | None,
) -> tuple[list[Looks], bool]:
    """Look until it ends."""
    start, stopped = time.perf_counter_ns(), False
    seen = {process.pid: Looks(process.pid, start)}
    while process.poll() is None:
        passed = time.perf_counter_ns() - start
        for one in list(seen.values()):
            one.look()
            for pid in one.children() if children else ():
                seen.setdefault(pid, Looks(pid, time.perf_counter_ns()))
        if progress:
            progress(passed / 1e9)
        if seconds is not None and passed > 1e9 * seconds and not stopped:
            process.terminate()
            stopped = True
        elif stopped and seconds is not None and passed > 1e9 * (seconds + STOP_SECONDS):
            process.kill()
        time.sleep(max(LOOK_SECONDS, passed / 1e9 / LOOKS))
    return list(seen.values()), stopped


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
    return image_in(text)


def image_in(smaps: str) -> int:
    """Bytes of anonymous pages of files, and of what follows a program or a library as its data
    without values: as far as its headers say, as an arena of a heap may lie right behind it."""
    total, past, room, image_past = 0, "", 0, 0
    file = ""
    for line in smaps.splitlines():
        if found := _AREA.match(line):
            start = int(found["start"], 16)
            if found["inode"] != "0":
                if found["name"] != file:
                    file, image_past = found["name"], start + image_span(found["name"])
                room = int(found["past"], 16) - start
            else:
                joined = found["start"] == past and not found["name"]
                room, file = max(0, image_past - start) if joined else 0, ""
            past = found["past"]
        elif room and line.startswith("Anonymous:"):
            total += min(int(line.split()[1]) << 10, room)
    return total


@functools.cache
def image_span(path: str) -> int:
    """Bytes from the first page of a program or a library to the last that its loader maps; 0 of
    another file, or of one that cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(ELF_HEAD)
            if len(head) < ELF_HEAD or head[:6] != ELF_64:
                return 0
            (at,), (each, count) = (
                struct.unpack_from("<Q", head, 32),
                struct.unpack_from("<HH", head, 54),
            )
            file.seek(at)
            rows = file.read(each * count)
        loads = [
            (address, address + bytes_)
            for row in range(count)
            for kind, _, _, address, _, _, bytes_ in [
                struct.unpack_from("<IIQQQQQ", rows, each * row)
            ]
            if kind == ELF_LOAD
        ]
    except (OSError, struct.error):
        return 0
    if not loads:
        return 0
    first = min(loads)[0] // PAGE_BYTES * PAGE_BYTES
    return -(-max(past for _, past in loads) // PAGE_BYTES) * PAGE_BYTES - first


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
    clock = run.clock_ns
    total = max(1.0, 1e9 * run.seconds)
    share = clock / total
    top = int(run.anonymous.argmax())
    unseen = run.high_water_bytes - int(run.files[-1]) - int(run.anonymous[top])
    beside = int(run.anonymous[0]) if moments.at is None else moments.outside_at_peak
    first, last = (moments.end - before for before in WINDOW)
    near = (share >= first) & (share <= last)
    rest = sum(run.rest()) // 2 if moments.rested else -1
    if rest >= 0:
        near = np.arange(len(share)) == rest
        share[rest] = moments.end  # whatever its own share of the time was
    elif not near.any():
        near = np.arange(len(share)) == int(np.abs(share - last).argmin())
    heap = np.maximum(heap_bytes(run, moments, share) - image, 0)
    lengths = np.diff(clock, append=max(int(clock[-1]) + 1, int(total)))
    return Held(
        peak_resident_bytes=max(0, int(run.anonymous[top]) + max(0, unseen) - beside - image),
        mean_resident_bytes=round(float(np.average(heap, weights=lengths))),
        end_resident_bytes=int(heap[near].min()),
        seconds=run.seconds,
        status=0 if run.stopped else run.status,
    )


def heap_bytes(run: Run, moments: Moments, share: np.ndarray | None = None) -> np.ndarray:
    """int64[look]: anonymous memory less what the recording saw outside of the heap at that share
    of its time; where it did not look, less what was there at the first look."""
    if moments.at is None or moments.outside is None or not len(moments.at):
        outside = np.full(len(run.clock_ns), run.anonymous[0])
    else:
        shares = run.clock_ns / max(1.0, 1e9 * run.seconds) if share is None else share
        outside = np.interp(shares, moments.at, moments.outside)
    return np.maximum(run.anonymous - outside, 0).astype(np.int64)
