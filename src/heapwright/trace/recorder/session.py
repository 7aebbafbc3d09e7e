"""Run a program under the recorder and make traces of what it did."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.convert import Converted, convert
from heapwright.trace.recorder.log import Log

Progress = Callable[[str, float], None]


def record(
    command: Sequence[str],
    out: str | os.PathLike[str],
    *,
    children: bool = False,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> tuple[int, list[Converted]]:
    """Run `command`, write its trace to `out`; its exit status (128 + n for signal n) and traces.

    `out` becomes the last program that the first process executed. With `children` every process
    image gets a trace beside it, `out`'s stem followed by process number and program. Ctrl-C goes
    to the program and what was recorded is kept. `progress` is called while converting, with the
    name of the trace and the fraction done.

    HeapwrightError when the program cannot be run, made no event, or the disk refuses; then no
    trace is written.
    """
    out = Path(out)
    program = shutil.which(command[0])
    if not program:
        raise HeapwrightError(f"cannot record {command[0]}: there is no such program")
    preload = library()
    if not out.parent.is_dir():
        raise HeapwrightError(f"cannot write {out}: there is no folder {out.parent}")
    if out.exists() and not out.is_file():
        raise HeapwrightError(f"{out} is not a regular file: give another output path")
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent.resolve())
    except OSError as error:
        raise HeapwrightError(f"cannot write {out}: {error.strerror}") from None
    with folder as name:
        parent = 0 if children else os.getpid()
        told = {"HEAPWRIGHT_RECORD": f"{parent}:{name}"}
        status, pid = run_preloaded(command, preload, told, environment or os.environ)
        logs = sorted(_logs(Path(name)), key=lambda log: (log[0] != pid, log))
        first = [log for log in logs if log[0] == pid]
        if not first:
            raise HeapwrightError(
                f"recorded nothing of {command[0]} (it ended with status {status}): {_why(program)}"
            )
        main = first[-1]
        chosen = [main, *(log for log in logs if children and log != main)]
        converted = []
        for log in chosen:
            executable = Log(log[2]).executable
            target = out if log == main else _beside(out, log, os.path.basename(executable))
            # By the name it was called by: an executable may have several.
            called = log == main and os.path.realpath(program) == executable
            converted.append(
                convert(
                    log[2],
                    target,
                    program=Path(command[0]).name if called else "",
                    progress=progress and partial(progress, target.name),
                )
            )
            log[2].unlink()
    return status, converted


def _beside(out: Path, log: tuple[int, int, Path], program: str) -> Path:
    """Where the trace of another process image than `out`'s goes."""
    pid, image, _ = log
    suffix = ".heap.parquet" if out.name.endswith(".heap.parquet") else out.suffix
    number = f"{pid}" if image == 1 else f"{pid}.{image}"
    return out.with_name(f"{out.name.removesuffix(suffix)}.{number}.{program}{suffix}")


def run_preloaded(
    command: Sequence[str],
    preload: Path,
    told: Mapping[str, str],
    environment: Mapping[str, str],
) -> tuple[int, int]:
    """Exit status and process number of `command`, run with a library that is `told` variables."""
    before = environment.get("LD_PRELOAD", "")
    recorded = {
        **environment,
        "LD_PRELOAD": f"{preload}:{before}" if before else str(preload),
        **told,
    }
    # A handler, not SIG_IGN: the program would inherit that.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(list(command), env=recorded)
        code = process.wait()
    except OSError as error:
        raise HeapwrightError(f"cannot run {command[0]}: {error.strerror}") from None
    finally:
        signal.signal(signal.SIGINT, previous)
    return code if code >= 0 else 128 - code, process.pid


def _logs(folder: Path) -> list[tuple[int, int, Path]]:
    """(process number, image number, path) of each log that found room on the disk."""
    return [
        (int(path.stem), int(path.suffix[1:]), path)
        for path in folder.iterdir()
        if path.suffix != ".proc" and path.stat().st_size
    ]


def _why(program: str) -> str:
    """What may keep the recorder out of `program`."""
    with open(program, "rb") as file:
        head = file.read(4096)
    status = os.stat(program)
    if status.st_mode & 0o6000:
        return "it is setuid, so the system loads no recorder into it"
    if head[:4] == b"\x7fELF" and b"ld-linux" not in head and b"/ld" not in head:
        return "it is statically linked, so no recorder can be loaded into it"
    if head[:4] == b"\x7fELF" and b"ld-musl" in head:
        return "it runs on musl, and the recorder needs glibc"
    return "it allocates nothing, or brings its own malloc that cannot be replaced"
