"""Addresses in flight: a manager's own in the tunnel, and of glibc's twin those of glibc.

The recorder takes them down: it calls glibc's own names for malloc, which an object of a flight
has too.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.flight.build import build
from heapwright.flight.layout import ORIGIN
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT
from heapwright.trace.recorder.session import record
from heapwright.trace.schema import TOUCH
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import addresses

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler for the recorder"),
]

PROGRAMS = {
    "sqlite3": [
        "sqlite3",
        "-init",
        "/dev/null",
        ":memory:",
        "create table t(a integer, b text); create index by_b on t(b);"
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)"
        " insert into t select i, hex(i * 7919 % 5000) from n;"
        "select count(*), max(length(g)) from (select group_concat(b) g from t group by a % 97);"
        "delete from t where a % 3 = 0; select sum(a) from t where b > 'A';",
    ],
    "lua": [
        "lua5.4",
        "-e",
        "local w = {} for r = 1, 40 do for i = 1, 900 do w[i .. ':' .. r] = ('x'):rep(i % 70) end"
        " if r % 8 == 0 then w = {} collectgarbage() end end print(#('x'):rep(1 << 20))",
    ],
    "perl": [
        "perl",
        "-e",
        "my (%h, @k); for my $r (1 .. 60) { $h{$_ % 997} .= 'x' x ($_ % 90) for 1 .. 700;"
        " push @k, join ' ', sort keys %h if $r % 5 == 0; %h = () if $r % 20 == 0 }"
        " print scalar(@k), qq(\\n)",
    ],
    "brief": [
        "perl",
        "-e",
        "my %h; $h{$_ % 97} .= 'x' x ($_ * 7 % 400) for 1 .. 8000; print scalar keys %h",
    ],
}


def recording(program: str, preload: Path, folder: Path) -> Trace:
    if not shutil.which(PROGRAMS[program][0]):
        pytest.skip(f"{program} is not installed")
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "PERL_HASH_SEED": "0",
        "LD_PRELOAD": str(preload),
    }
    out = folder / f"{preload.stem}.heap.parquet"
    status, _ = record(PROGRAMS[program], out, environment=environment)
    assert status == 0
    return Trace.open(out)


def requests(trace: Trace) -> dict[str, np.ndarray]:
    """The columns of all events but what looks saw, which come when time says."""
    columns = ("op", "slot", "size", "address")
    batches = list(trace.batches(columns))
    whole = {name: np.concatenate([getattr(one, name) for one in batches]) for name in columns}
    return {name: column[whole["op"] != TOUCH] for name, column in whole.items()}


@pytest.mark.skipif(
    os.confstr("CS_GNU_LIBC_VERSION") != "glibc 2.36", reason="the twin is of glibc 2.36"
)
@pytest.mark.parametrize("program", ["sqlite3", "lua", "perl"])
def test_the_twin_gives_the_addresses_of_glibc(program: str, tmp_path: Path) -> None:
    # Under names of one length: a program may copy its environment.
    twin, real = tmp_path / "twin.so", tmp_path / "real.so"
    twin.symlink_to(build("glibc"))
    maps = Path("/proc/self/maps").read_text().split()
    real.symlink_to(next(word for word in maps if word.endswith("/libc.so.6")))  # there anyway
    key, flown = recording(program, real, tmp_path), recording(program, twin, tmp_path)
    ours, theirs = requests(flown), requests(key)
    assert len(theirs["op"]) > 10_000
    for column in ("op", "slot", "size"):
        assert np.array_equal(ours[column], theirs[column])
    expected = theirs["address"] - key.heap_start
    given = ours["address"] - (ORIGIN + BREAK_BASE)
    inside = (expected >= 0) & (expected < BREAK_LIMIT)
    assert np.array_equal(inside, (given >= 0) & (given < BREAK_LIMIT - BREAK_BASE))
    assert np.array_equal(given[inside], expected[inside])
    assert inside.sum() > 5_000


@pytest.mark.parametrize("manager", ["segregated-fit", "buddy", "glibc", "wright"])
def test_the_tunnel_gives_the_addresses_of_flight(manager: str, tmp_path: Path) -> None:
    """And so does the same source interpreted."""
    flown = recording("brief", build(manager), tmp_path)
    expected = np.concatenate([batch.address for batch in flown.batches(("address",))])
    given = placed = np.concatenate(list(addresses(manager, flown)))
    if manager == "glibc":  # its tunnel's heap starts where the program's own did, not flight's
        above = flown.heap_start % BREAK_BASE
        given = placed - np.where((placed > 0) & (placed < BREAK_LIMIT), above, 0)
    assert np.array_equal(np.where(given > 0, given + ORIGIN, 0), expected)
    assert (given > 0).sum() > 2_500
    plain = tmp_path / "interpreted.npy"
    command = ["replay", manager, str(flown.path), "--addresses", str(plain), "--json"]
    subprocess.run(
        [sys.executable, "-m", "heapwright", *command],
        env={**os.environ, "HEAPWRIGHT_INTERPRET": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=200,
    )
    assert np.array_equal(np.load(plain), placed)
