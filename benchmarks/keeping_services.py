"""Services whose memory is looked at as they work: a Redis, and a Python with pandas.

Redis is the installed one, or Debian's, unpacked into build/peers/redis. It is sent 270,000
commands of one seed over a socket: strings, lists, hashes, sets and sorted sets, with values of up
to 100, then 400, then 1,500 bytes, and now and then a stretch that deletes. What is resident is
looked at after each thousand. pythons/orders.py looks at itself.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.debian import unpack
from benchmarks.peers import FOLDER, LIBRARIES, Served
from heapwright.errors import HeapwrightError

SUITE = "bookworm"
PACKAGES = ["redis-server", "redis-tools", "liblzf1", "liblua5.1-0"]  # what Debian has not always
BATCHES, BATCH = 270, 1000
LONGEST_BYTES = (100, 400, 1500)  # of a value, in turn
TURN, DELETING = 30, 25  # batches with one length, of which the last ones delete
STARTS_S, ENDS_S = 10, 10
SERVICES = ("pandas", "redis")

Figures = tuple[float, float, float, float, float]  # as Kept of keeping.py
Measure = Callable[[Served], Figures]


def measures(folder: Path = FOLDER) -> dict[str, Measure]:
    """The services that can be had; one line for each that cannot."""
    found: dict[str, Measure] = {"pandas": pandas}
    server = shutil.which("redis-server")
    root = folder / "redis"
    if not server and not (why := unpack(SUITE, PACKAGES, root)):
        server = str((root / "usr/bin/redis-server").absolute())
    if server:
        path, libraries = server, str((root / LIBRARIES).absolute())
        found["redis"] = lambda served: redis(path, libraries, served)
    else:
        print(f"redis is left out: {why}", file=sys.stderr)
    return found


def pandas(served: Served) -> Figures:
    """One run of pythons/orders.py."""
    source = Path(__file__).with_name("pythons") / "orders.py"
    done = subprocess.run(
        served.command([sys.executable, str(source)]),
        env=served.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise HeapwrightError(f"{source.name} on {served.library} ended with {done.returncode}.")
    processor, wall, peak, mean, stays = map(float, done.stdout.split())
    return processor, wall, peak, mean, stays


def command(*words: bytes) -> bytes:
    """A command in Redis's protocol."""
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


def batches() -> Iterator[bytes]:
    """The load, a thousand commands at a time."""
    draw = random.Random(1)
    for number in range(BATCHES):
        longest = LONGEST_BYTES[number // TURN % len(LONGEST_BYTES)]
        deletes = number % TURN >= DELETING
        yield b"".join(_drawn(draw, longest, deletes) for _ in range(BATCH))


def _drawn(draw: random.Random, longest: int, deletes: bool) -> bytes:
    """One command."""
    number, kind = draw.randrange(30_000), draw.randrange(9)
    key, value = b"key:%d" % number, b"x" * draw.randrange(1, longest)
    if kind < 4:
        if deletes or kind == 3:
            return command(b"DEL", key)
        return command(b"SET", key, value)
    if kind == 4:
        return command(b"LPUSH", b"list:%d" % (number % 300), value)
    if kind == 5:
        return command(b"RPOP", b"list:%d" % (number % 300))
    if kind == 6:
        return command(b"HSET", b"hash:%d" % (number % 500), key, value)
    if kind == 7:
        return command(b"SADD", b"set:%d" % (number % 500), key)
    return command(b"ZADD", b"sorted:%d" % (number % 100), b"%d" % number, key)


def redis(server: str, libraries: str, served: Served) -> Figures:
    """One run of a Redis server; `libraries` is where what it needs may lie."""
    loader = list(served.loader)
    if loader:
        at = loader.index("--library-path") + 1
        loader[at] = f"{loader[at]}:{libraries}"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", "0", "--unixsocket", f"{folder}/socket", "--save", "", "--dir", folder]
        began = time.monotonic()
        with subprocess.Popen(
            [*loader, server, *options],
            env={**served.environment(), "LD_LIBRARY_PATH": libraries},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                looks = _loaded(process, f"{folder}/socket")
                return _told(process.pid, time.monotonic() - began, looks)
            except OSError as error:
                raise HeapwrightError(f"redis on {served.library}: {error}.") from None
            finally:
                process.kill()
                process.wait(ENDS_S)


def _loaded(process: "subprocess.Popen[bytes]", path: str) -> list[int]:
    """Send the load; what was resident after each batch, KiB."""
    looks, until = [], time.monotonic() + STARTS_S
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(STARTS_S)
        while True:
            try:
                connection.connect(path)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        for number, batch in enumerate(batches()):
            last = b"end of batch %d" % number
            connection.sendall(batch + command(b"ECHO", last))
            told = b""
            while not told.endswith(last + b"\r\n"):
                more = connection.recv(1 << 16)
                if not more:
                    raise OSError("the server has ended")
                told = told[-64:] + more
            looks.append(_resident_kb(process.pid))
    return looks


def _resident_kb(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _told(process: int, wall: float, looks: list[int]) -> Figures:
    """What it took until now."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    status = Path(f"/proc/{process}/status").read_text()
    peak = float(status.partition("VmHWM:")[2].split()[0])
    processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return processor, wall, peak, sum(looks) / len(looks), float(looks[-1])
