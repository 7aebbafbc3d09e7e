"""Record the running kernel: its kmem events for so many seconds, by tracefs.

    an instance of its own ─► buffers ─► events on ─► raw pages to a file as they fill ─► events off
                                                      └► importers/ring_pages.py ─► the trace

The instance is taken away again whatever happens, so that other tracing goes on as it was.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import ring_pages
from heapwright.trace.importers.kernel_events import EVENTS
from heapwright.trace.importers.ring_pages import MARK, PAGE

PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
BUFFER_KIB = 16384  # of each processor
LOOK_SECONDS = 0.1


def tracefs(places: tuple[Path, ...] = PLACES) -> Path:
    """Where the kernel's tracing is; HeapwrightError where it is absent or forbidden."""
    for place in places:
        try:
            if (place / "events" / "kmem").is_dir():
                if os.access(place / "instances", os.W_OK):
                    return place
                raise HeapwrightError(
                    f"{place} may not be written by this user: record the kernel as root."
                )
            os.listdir(place)
        except PermissionError:
            raise HeapwrightError(
                f"{place} may not be read by this user: record the kernel as root."
            ) from None
        except OSError:
            continue
    raise HeapwrightError(
        "this system shows no kernel tracing (tracefs with kmem events): mount it as root by "
        "`mount -t tracefs t /sys/kernel/tracing`, or import a recording of another machine."
    )


def record_kernel(
    output: Path,
    seconds: float,
    progress: Callable[[float], None] = lambda share: None,
    places: tuple[Path, ...] = PLACES,
) -> None:
    """Write the trace of what the kernel asks of its allocators in the next `seconds`."""
    root = tracefs(places)
    with tempfile.TemporaryDirectory(prefix="heapwright-") as folder:
        raw = Path(folder) / "kernel"
        with raw.open("wb") as file, _instance(root) as instance:
            for name in EVENTS:
                layout = root / "events" / "kmem" / name / "format"
                if layout.is_file():
                    file.write(layout.read_bytes())
            file.write(MARK)
            _drain(instance, file.write, seconds, progress)
        ring_pages.import_trace(raw, output, lambda share: None)


@contextlib.contextmanager
def _instance(root: Path) -> Iterator[Path]:
    """Buffers of our own, with kmem's events on."""
    instance = root / "instances" / f"heapwright-{os.getpid()}"
    try:
        instance.mkdir()
        _tell(instance / "buffer_size_kb", str(BUFFER_KIB))
        for name in EVENTS:
            if (instance / "events" / "kmem" / name).is_dir():
                _tell(instance / "events" / "kmem" / name / "enable", "1")
        yield instance
    except OSError as error:
        raise HeapwrightError(
            f"the kernel refuses to trace in {instance}: {error.strerror or error}"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            _tell(instance / "events" / "enable", "0")
        with contextlib.suppress(OSError):
            instance.rmdir()


def _tell(path: Path, text: str) -> None:
    """Write a setting."""
    with path.open("w") as file:
        file.write(text)


def _drain(
    instance: Path,
    write: Callable[[bytes], object],
    seconds: float,
    progress: Callable[[float], None],
) -> None:
    """Copy pages as they fill, until the time is up and all are read."""
    with contextlib.ExitStack() as held:
        pipes = []
        for path in sorted(instance.glob("per_cpu/cpu*/trace_pipe_raw")):
            pipes.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            held.callback(os.close, pipes[-1])
        begun, told = time.monotonic(), 0.0
        while True:
            over = time.monotonic() - begun >= seconds
            if over:
                with contextlib.suppress(OSError):
                    _tell(instance / "tracing_on", "0")
            for pipe in pipes:
                with contextlib.suppress(BlockingIOError):
                    while page := os.read(pipe, PAGE):
                        write(page.ljust(PAGE, b"\0"))
            share = min((time.monotonic() - begun) / max(seconds, 1e-9), 1.0)
            progress(share - told)
            told = share
            if over:
                return
            time.sleep(min(LOOK_SECONDS, seconds))
