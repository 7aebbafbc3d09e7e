"""Get the recorder into a process that runs and out again, as a debugger would: see attach.c.

what the process is ─► where its libc has dlopen ─► attach.c: a safe point, and the call
"""

import contextlib
import ctypes
import errno
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.absent import obstacle
from heapwright.trace.recorder.build import library

PATIENCE_S = 10.0  # that a safe point is waited for
# What attach.c answers, and what heapwright_attach (attached.h) does.
DONE, REFUSED, GONE, NOT_SAFE, NOT_LOADED, NO_FUNCTION, LOCKED, NO_MEMORY = range(8)
ATTACHED_WELL, OTHER_MALLOC, NO_LOG, TWICE, NO_LIBC = range(5)
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)")
_LIBC = re.compile(r"/libc(\.so\.6|-2\.\d+\.so)$")
_LOADER = re.compile(r"/ld-(linux-x86-64\.so\.2|2\.\d+\.so)$")
_RESTORER = bytes.fromhex("48c7c00f0000000f05")  # mov $15, %rax; syscall: rt_sigreturn
_SHT_DYNSYM = 11


class _Plan(ctypes.Structure):  # struct plan of attach.c
    _fields_ = [
        ("pid", ctypes.c_int64),
        ("patience_ms", ctypes.c_int64),
        *((name, ctypes.c_uint64) for name in ("dlopen_at", "dlsym_at", "dlerror_at", "restorer")),
        *((name, ctypes.c_uint64) for name in ("libc_start", "libc_end")),
        *((name, ctypes.c_uint64) for name in ("loader_start", "loader_end")),
        ("library", ctypes.c_char * 4096),
        ("function", ctypes.c_char * 64),
        ("argument", ctypes.c_char * 4096),
        ("result", ctypes.c_int64),
        ("error", ctypes.c_int64),
        ("stopped_ns", ctypes.c_int64),
        ("message", ctypes.c_char * 512),
    ]


@dataclass
class Target:
    """A process, and where in it lies what is called."""

    pid: int
    name: str  # of its program
    addresses: dict[str, int]  # fields of _Plan

    def call(self, library: Path, function: str, argument: str, patience_s: float) -> int:
        """What `function` of the library, loaded into the process if need be, returns.

        HeapwrightError when there is no safe point in time, or the system forbids it.
        """
        plan = _Plan(pid=self.pid, patience_ms=int(patience_s * 1000), **self.addresses)
        plan.library, plan.function = os.fsencode(library), function.encode()
        plan.argument = os.fsencode(argument)
        status = _helper().heapwright_call(ctypes.byref(plan))
        if status != DONE:
            raise HeapwrightError(f"cannot attach to process {self.pid}: {self._why(status, plan)}")
        return int(plan.result) & 0xFFFFFFFF

    def _why(self, status: int, plan: _Plan) -> str:
        """A sentence's end."""
        said = plan.message.decode(errors="replace")
        answers = {
            REFUSED: _forbidden(self.pid, int(plan.error)),
            GONE: "it has ended",
            NOT_SAFE: "none of its threads came out of malloc or the loader in time; try again",
            NOT_LOADED: f"its loader says: {said}",
            NO_FUNCTION: "the recorder that it loaded is another version's",
            LOCKED: "its loader is at work for another thread; try again",
            NO_MEMORY: f"it is given no memory ({os.strerror(int(plan.error))})",
        }
        return answers[status]


def target(pid: int) -> Target:
    """The process, looked at; HeapwrightError with one sentence when it cannot be attached to."""
    cannot = f"cannot attach to process {pid}: "
    process = Path(f"/proc/{pid}")
    if os.uname().machine != "x86_64":
        raise HeapwrightError(f"{cannot}that is for x86-64 only; start it under `record`")
    if pid == os.getpid():
        raise HeapwrightError(f"{cannot}that is heapwright itself")
    try:
        status = dict(
            line.split(":\t", 1)
            for line in (process / "status").read_text().splitlines()
            if ":\t" in line
        )
    except OSError:
        raise HeapwrightError(f"{cannot}there is no such process") from None
    name = status["Name"].strip()
    if status["State"][0] in "ZX":
        raise HeapwrightError(f"{cannot}it has ended")
    if status["State"][0] == "T":
        raise HeapwrightError(f"{cannot}it is stopped; `kill -CONT {pid}` lets it go on")
    if int(status["TracerPid"]):
        raise HeapwrightError(
            f"{cannot}process {status['TracerPid'].strip()}, a debugger or strace, is attached "
            "already"
        )
    try:
        mapped = (process / "maps").read_text(errors="replace")
        executable = os.readlink(process / "exe")
        elsewhere = [
            what
            for what in ("mnt", "pid")
            if os.readlink(process / "ns" / what) != os.readlink(f"/proc/self/ns/{what}")
        ]
        rooted = os.readlink(process / "root") != os.readlink("/proc/self/root")
    except OSError as error:
        raise HeapwrightError(cannot + _forbidden(pid, error.errno or 0)) from None
    if not mapped:
        raise HeapwrightError(f"{cannot}it is a thread of the kernel, or has ended")
    if elsewhere or rooted:
        raise HeapwrightError(
            f"{cannot}it is in another container or root folder; run heapwright in there"
        )
    if re.search(rf"\.recording-\w+/{pid}\.\d+$", mapped, re.MULTILINE):
        raise HeapwrightError(f"{cannot}it is being recorded already")
    return Target(pid, name, _places(cannot, mapped, executable))


def _places(cannot: str, mapped: str, executable: str) -> dict[str, int]:
    """Where the process has what is called and what must not be interrupted."""
    mappings = [m for m in map(_MAPPING.fullmatch, mapped.splitlines()) if m]
    libc = [m for m in mappings if _LIBC.search(m[5].removesuffix(" (deleted)"))]
    if not libc:
        path = executable.removesuffix(" (deleted)")
        why = obstacle(path, "recorder") if os.path.exists(path) else ""
        raise HeapwrightError(
            cannot
            + (why or f"{os.path.basename(path)} has not loaded glibc, whose malloc is recorded")
        )
    if libc[0][5].endswith(" (deleted)"):
        raise HeapwrightError(f"{cannot}its libc was replaced since it began; restart it first")
    loader = [m for m in mappings if _LOADER.search(m[5])]
    base = min(int(m[1], 16) for m in libc)
    symbols = _symbols(Path(libc[0][5]))
    dl = [m for m in mappings if m[5].rpartition("/")[2].startswith("libdl")]
    if "dlopen" not in symbols and dl:  # before glibc 2.34
        own, start = _symbols(Path(dl[0][5])), min(int(m[1], 16) for m in dl)
        symbols |= {
            n: a + start - base for n, a in own.items() if n in ("dlopen", "dlsym", "dlerror")
        }
    code = [m for m in libc if "x" in m[3]]
    text = Path(libc[0][5]).read_bytes()
    at = text.find(_RESTORER)
    segment = next((m for m in code if int(m[4], 16) <= at), None)
    if not {"dlopen", "dlsym", "dlerror"} <= symbols.keys() or at < 0 or not segment or not loader:
        raise HeapwrightError(f"{cannot}its libc has no dlopen that could be called")
    return {
        **{f"{name}_at": base + symbols[name] for name in ("dlopen", "dlsym", "dlerror")},
        "restorer": int(segment[1], 16) + at - int(segment[4], 16),
        "libc_start": min(int(m[1], 16) for m in code),
        "libc_end": max(int(m[2], 16) for m in code),
        "loader_start": min(int(m[1], 16) for m in loader),
        "loader_end": max(int(m[2], 16) for m in loader),
    }


def _symbols(path: Path) -> dict[str, int]:
    """The functions that a 64-bit ELF library offers: name, offset from where it is loaded."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, struct.error, IndexError):
        text = path.read_bytes()
        table, size, count = struct.unpack_from("<Q10xHH", text, 40)
        for row in range(count):
            kind, at, length, link = struct.unpack_from("<4xI16xQQI", text, table + row * size)
            if kind != _SHT_DYNSYM:
                continue
            strings = struct.unpack_from("<Q", text, table + link * size + 24)[0]
            for entry in range(at, at + length, 24):
                name, info, section, value = struct.unpack_from("<IBxHQ", text, entry)
                if section and info & 15 == 2:
                    start = strings + name
                    found[text[start : text.index(b"\0", start)].decode(errors="replace")] = value
    return found


def _forbidden(pid: int, error: int) -> str:
    """Why the system does not let us, and what helps."""
    if error in (errno.ENOENT, errno.ESRCH):
        return "it has ended"
    if error not in (errno.EPERM, errno.EACCES):
        return f"the system refuses ({os.strerror(error)})"
    with contextlib.suppress(OSError):
        owner = os.stat(f"/proc/{pid}").st_uid
        if os.geteuid() not in (0, owner):
            return "it is another user's; run heapwright as that user or as root"
    with contextlib.suppress(OSError, ValueError):
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
        if scope == 3:
            return "kernel.yama.ptrace_scope is 3, which forbids it until the next boot"
        if scope and os.geteuid():
            return (
                "kernel.yama.ptrace_scope allows it to root only; run heapwright as root, or "
                "`sysctl kernel.yama.ptrace_scope=0`"
            )
    return (
        "the system does not allow ptrace here; in a container give it CAP_SYS_PTRACE "
        "(`docker run --cap-add SYS_PTRACE`), or start it under `heapwright record`"
    )


def _helper() -> ctypes.CDLL:
    """attach.c, loaded; the call is made by the thread that asks for it."""
    helper = ctypes.CDLL(str(library("attach")))
    helper.heapwright_call.argtypes = [ctypes.POINTER(_Plan)]
    helper.heapwright_call.restype = ctypes.c_int
    return helper


def why_not_recorded(target: Target, answer: int) -> str:
    """The sentence for what heapwright_attach answered."""
    cannot = f"cannot record process {target.pid}: "
    if answer & 0xFF == OTHER_MALLOC:
        return (
            f"{cannot}its malloc is not glibc's but another's, preloaded or linked in; start it "
            "under `heapwright record`, which sets a preloaded one aside"
        )
    if answer & 0xFF == NO_LOG:
        return (
            f"{cannot}it cannot write its log ({os.strerror(answer >> 8 or errno.EACCES)}); give "
            "an output folder that its user may write"
        )
    return f"{cannot}" + (
        "it is being recorded" if answer & 0xFF == TWICE else "it has no libc.so.6"
    )
