"""The speed of the real allocators, in the replay loop of the twins.

    rates(trace, names) ─ a socket of its own ─► server ─fork─► library loaded, trace replayed

The server is a fresh Python with one thread, since then glibc takes its short cuts as in the
recorded program, and with room for the thread state of a library that is loaded late. It loads
the compiled loop once and forks for each measurement; it is started by whoever asks first, serves
the processes forked from there too, and ends with the last of them. Pages are not touched: the
allocator is timed.
Source     DESIGN.md's figures of 28-132 M events/s come from the same arrangement
Omits      threads: a threaded trace is replayed by one thread, as the twins do
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.malloc import called, libc, systems
from heapwright.trace.schema import COLUMNS, Events

SENT = ("op", "slot", "size", "align", "thread")
MESSAGE_BYTES = 4096  # the longest request
MOST_SECONDS = 3600  # for a trace


def rates(
    trace: Any, names: Sequence[str], runs: int = 1, settings: dict[str, int] | None = None
) -> dict[str, float]:
    """Seconds that the replay loop takes with each real allocator, the median of `runs`.

    `settings` are each one's own. HeapwrightError when an allocator is missing or fails.
    """
    said: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            known = settings or {}
            server = serving(systems.variables(name, known), systems.elsewhere(name, known))
            said[name].append(server.seconds(name, trace))
    return {name: statistics.median(each) for name, each in said.items()}


def serving(variables: Mapping[str, str] | None = None, libraries: Path | None = None) -> "Server":
    """The server with these in its environment, on the glibc in `libraries` or this machine's;
    started now unless it already runs."""
    told = (libraries, *sorted((variables or {}).items()))
    if told not in _servers:
        _servers[told] = Server(dict(variables or {}), libraries)
    return _servers[told]


class Server:
    """A fresh Python that forks to measure; see the module's header."""

    def __init__(self, variables: Mapping[str, str], libraries: Path | None = None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as the process
        environment = {
            **os.environ,
            **variables,
            "GLIBC_TUNABLES": ":".join(
                filter(None, (systems.LATE_LOADING, variables.get("GLIBC_TUNABLES", "")))
            ),
            "OPENBLAS_NUM_THREADS": "1",  # a single thread
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(libc.loader(libraries) if libraries else ()),
                    *(sys.executable, "-m", __name__, str(theirs.fileno())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env=environment,
                pass_fds=(theirs.fileno(),),
            )
        atexit.register(self.close)

    def seconds(self, name: str, trace: Any) -> float:
        """Seconds in the loop for the whole trace, by a fork of the server."""
        library = systems.library(name)
        ours, theirs = socket.socketpair()
        ours.settimeout(MOST_SECONDS)
        with ours, _in_time(name):
            with contextlib.suppress(ConnectionError):  # then the answer says why
                with theirs:
                    request = json.dumps([name, library and str(library), trace.slots])
                    socket.send_fds(self._control, [request.encode()], [theirs.fileno()])
                for batch in trace.batches(columns=SENT):
                    _send(ours, batch)
                ours.sendall(bytes(8 * len(SENT)))  # a batch of nothing
            said = _rest_of(ours)
        outcome = json.loads(said) if said else self._last_words()
        if not isinstance(outcome, float):
            raise HeapwrightError(f"timing the real {name} failed: {outcome}")
        return outcome

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its process was killed"

    def close(self) -> None:
        """End the server."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        self._stderr.close()


@contextlib.contextmanager
def _in_time(name: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise HeapwrightError(
            f"timing the real {name} had not ended after {MOST_SECONDS} seconds."
        ) from None


_servers: dict[tuple[Any, ...], Server] = {}  # by their libraries and environment


def _send(connection: socket.socket, batch: Events) -> None:
    """Lengths of the columns of SENT, then the columns."""
    columns = [np.ascontiguousarray(getattr(batch, column)) for column in SENT]
    connection.sendall(np.array([len(column) for column in columns], np.int64).data)
    for column in columns:
        connection.sendall(column.view(np.uint8).data)


def _received(connection: socket.socket) -> Events | None:
    """The next batch, None after the last."""
    lengths = np.zeros(len(SENT), np.int64)
    _fill(connection, lengths)
    if not lengths.any():
        return None
    columns = {name: np.empty(0, dtype) for name, dtype in COLUMNS.items()}
    for name, length in zip(SENT, lengths.tolist(), strict=True):
        columns[name] = np.empty(length, COLUMNS[name])
        _fill(connection, columns[name])
    return Events(**columns)


def _fill(connection: socket.socket, array: np.ndarray) -> None:
    view = array.view(np.uint8).data
    while view:
        got = connection.recv_into(view)
        if not got:
            raise EOFError("the events ended early")
        view = view[got:]


def _rest_of(connection: socket.socket) -> bytes:
    """Everything up to the other end's hanging up."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(MESSAGE_BYTES):
            said += more
    return said


def _fly(name: str, library: str | None, slots: int, connection: socket.socket | None) -> float:
    """Seconds in the replay loop for the events that arrive; None brings none."""
    from time import perf_counter

    from heapwright.managers.registry import Manager
    from heapwright.tunnel.bind import bound_loop

    loop = bound_loop(Manager("called", "heapwright.references.malloc.called"))
    heap: Any = called.boot(called.load(systems.named(name), library))
    run = loop.start(heap, slots)
    loop.replay(heap, run, Events(*(np.empty(0, dtype) for dtype in COLUMNS.values())))
    seconds = 0.0
    while connection is not None and (batch := _received(connection)) is not None:
        start = perf_counter()
        loop.replay(heap, run, batch)
        seconds += perf_counter() - start
    return seconds


def _answer(request: bytes, connection: socket.socket) -> None:
    """A fork of the server: replay what arrives, say the seconds or what went wrong, and end."""
    outcome: float | str = "its process was interrupted"
    try:
        name, library, slots = json.loads(request)
        outcome = _fly(name, library, slots, connection)
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(outcome).encode())
        os._exit(0)


def serve(control: socket.socket) -> None:
    """Fork for each request until nobody is left who could send one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    _fly("glibc", None, 1, None)  # compiles or loads the loop before the first fork
    while True:
        request, files, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not request:
            return
        with socket.socket(fileno=files[0]) as connection:
            if not os.fork():
                _answer(request, connection)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
