"""Why a program was not recorded, as far as its file tells."""

import mmap
import os
import shutil
import struct
from pathlib import Path

from heapwright.trace.recorder.owners import defined

ELF_HEAD_BYTES = 1 << 12
LAUNCHERS = 4  # scripts that name another one, at most
_PT_INTERP = 3
# Symbols of allocators that are linked into programs: prefix or own name, and whose it is.
_OWN = {
    b"je_malloc": "jemalloc",
    b"mi_malloc": "mimalloc",
    b"tc_malloc": "tcmalloc",
    b"rpmalloc": "rpmalloc",
    b"scudo_malloc": "scudo",
    b"_rjem_malloc": "jemalloc",
}
_GO = b"Go build ID:"


def why_absent(command: str) -> str:
    """What may keep the recorder out of `command`: the end of a sentence."""
    found = obstacle(command, "recorder")
    if found:
        return found
    path = program_of(command)
    name = os.path.basename(path)
    if own := own_allocator(path):
        return f"{name} brings an allocator of its own ({own}), which does not ask glibc"
    if defined(path, ("malloc",)):
        return f"{name} defines malloc itself, so that nothing of it asks glibc"
    return (
        f"{name} allocates nothing, or brings its own malloc that cannot be replaced, or its "
        "environment or its user, who may not write the log, kept the recorder out"
    )


def obstacle(command: str, preloaded: str) -> str:
    """Why nothing, be it called a `recorder` or a `manager`, can be preloaded into `command`: the
    end of a sentence; "" when its file does not tell."""
    path = program_of(command)
    try:
        with open(path, "rb") as file:
            head = file.read(ELF_HEAD_BYTES)
        setuid = os.stat(path).st_mode & 0o6000
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    name = os.path.basename(path)
    if setuid:
        return f"{name} is setuid, so the system loads no {preloaded} into it"
    if head[:4] != b"\x7fELF":
        return f"{name} is no ELF program"
    interpreter = _interpreter(head)
    if interpreter is None:
        told = " is a Go program and" if own_allocator(path) == "Go" else ""
        return f"{name}{told} is statically linked, so no {preloaded} can be loaded into it"
    if b"ld-musl" in interpreter:
        return f"{name} runs on musl, and the {preloaded} needs glibc"
    if head[4:5] != b"\x02":
        return f"{name} is a 32-bit program, and the {preloaded} is for 64 bits"
    return ""


def program_of(command: str) -> str:
    """The file that is executed for `command`: of a script its interpreter."""
    path = shutil.which(command) or command
    for _ in range(LAUNCHERS):
        try:
            with open(path, "rb") as file:
                head = file.read(ELF_HEAD_BYTES)
            if os.stat(path).st_mode & 0o6000:
                break
        except OSError:
            break
        words = head[2:].split(b"\n")[0].split() if head[:2] == b"#!" else []
        if not words:
            break
        interpreter = words[-1] if words[0].endswith(b"/env") else words[0]
        path = shutil.which(os.fsdecode(interpreter)) or os.fsdecode(interpreter)
    return path


def own_allocator(path: str | Path) -> str:
    """Whose allocator is linked into the program at `path`, as far as its symbols tell; or ""."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text[:4] != b"\x7fELF":
                return ""
            if text.find(_GO, 0, 1 << 16) >= 0:
                return "Go"
            for symbol, name in _OWN.items():
                if text.find(b"\0" + symbol + b"\0") >= 0:
                    return name
    except (OSError, ValueError):
        pass
    return ""


def _interpreter(head: bytes) -> bytes | None:
    """The loader that an ELF program names; None when it is statically linked."""
    try:
        if head[4] == 2:
            table, size, count = struct.unpack_from("<Q14xHH", head, 32)
            offset_at, length_at, form = 8, 32, "<Q"
        else:
            table, size, count = struct.unpack_from("<I10xHH", head, 28)
            offset_at, length_at, form = 4, 16, "<I"
        for row in range(count):
            at = table + row * size
            if struct.unpack_from("<I", head, at)[0] == _PT_INTERP:
                start = struct.unpack_from(form, head, at + offset_at)[0]
                return head[start : start + struct.unpack_from(form, head, at + length_at)[0]]
    except (struct.error, IndexError):
        pass
    return None
