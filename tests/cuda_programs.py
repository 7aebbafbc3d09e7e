"""Small programs of a device's requests, and where PyTorch's own allocator placed them.

    pip download --no-deps torch==2.6.0 nvidia-cuda-runtime-cu12==12.4.127   (unzip both in WHEELS)
    python tests/cuda_programs.py WHEELS      write managers/keys/cuda-caching-*.npz anew

The real library, `libc10_cuda.so` of the wheel, runs over a driver and a runtime without a GPU
(`cuda/driver_library.c`), driven by `cuda/drive.cc`. Nothing in a key comes from the twin; the
events are made again from the seed.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.trace.schema import FREE, MALLOC, Events, events
from malloc_programs import FOLDER

MIB = 1 << 20
SEED, EVENTS = 11, 1000
DOUBLING = 2.0
CLOSE = 0.7  # share of requests of a few sizes


class Case(NamedTuple):
    """A program under settings."""

    settings: dict[str, int]
    streams: int = 1
    largest: int = 27  # doublings of a byte


CASES = {
    "default": Case({"capacity_mb": 4096}, 3, 26),
    "short": Case({"capacity_mb": 300}, 2),
    "split": Case(
        {"capacity_mb": 400, "max_split_size_mb": 32, "per_process_memory_fraction": 75}, 2
    ),
    "collected": Case(
        {
            "capacity_mb": 500,
            "garbage_collection_threshold": 60,
            "per_process_memory_fraction": 80,
            "roundup_power2_divisions": 4,
        },
        2,
    ),
    "expandable": Case({"capacity_mb": 400, "expandable_segments": 1}, 2),
    "both": Case({"capacity_mb": 800, "expandable_segments": 1, "max_split_size_mb": 32}, 1),
}
STATES = ("allocated", "reserved", "retries", "ooms")


def rows_of(name: str, seed: int = SEED) -> list[tuple[int, int, int, int]]:
    """(op, slot, size, stream); `random()` gives every Python the same."""
    case, draw = CASES[name], random.Random(seed).random
    sizes = [int(DOUBLING ** (4 + draw() * (case.largest - 4))) for _ in range(40)]
    rows: list[tuple[int, int, int, int]] = []
    live: list[tuple[int, int]] = []
    for number in range(EVENTS):
        if live and draw() < (0.53 if number % 300 > 180 else 0.45):
            place = int(draw() * len(live))
            live[place], live[-1] = live[-1], live[place]
            slot, stream = live.pop()
            rows.append((FREE, slot, 0, stream))
            continue
        size = sizes[int(draw() * 40)]
        if draw() > CLOSE:
            size = int(DOUBLING ** (4 + draw() * (case.largest - 4)))
        stream = int(draw() * case.streams)
        rows.append((MALLOC, number, size, stream))
        live.append((number, stream))
    return rows


def batch(name: str, seed: int = SEED) -> Events:
    """The events of a program; a stream is a thread."""
    op, slot, size, thread = np.array(rows_of(name, seed), np.int64).T
    return events(op=op, slot=slot, size=size, thread=thread)


def conf(settings: dict[str, int]) -> str:
    """PYTORCH_CUDA_ALLOC_CONF of these settings."""
    told = [
        f"{knob}:{settings[knob]}"
        for knob in ("max_split_size_mb", "roundup_power2_divisions")
        if knob in settings
    ]
    if "garbage_collection_threshold" in settings:
        share = settings["garbage_collection_threshold"] / 100
        told.append(f"garbage_collection_threshold:{share}")
    if settings.get("expandable_segments"):
        told.append("expandable_segments:True")
    return ",".join(told)


def built(wheels: Path, folder: Path) -> dict[str, str]:
    """The driver in `folder`, and the environment that it runs in."""
    here, names = Path(__file__).parent / "cuda", folder / "names"
    names.write_text("libcudart.so.12 { global: *; };\n")
    headers = folder / "include" / "crt"
    headers.mkdir(parents=True)
    (headers / "host_defines.h").symlink_to(here / "host_defines.h")
    library = ["gcc", "-O2", "-w", "-shared", "-fPIC", str(here / "driver_library.c")]
    runtime = ["-DRUNTIME", "-Wl,-soname,libcudart.so.12", f"-Wl,--version-script={names}"]
    subprocess.run([*library, *runtime, "-o", folder / "libcudart.so.12"], check=True)
    subprocess.run(
        [*library, "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so.1"], check=True
    )
    torch = wheels / "torch"
    places = [headers.parent, torch / "include", wheels / "nvidia/cuda_runtime/include"]
    drive = ["g++", "-O1", "-w", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0"]
    drive += [*(f"-I{place}" for place in places), str(here / "drive.cc"), f"-L{torch / 'lib'}"]
    drive += ["-lc10_cuda", "-lc10", "-Wl,--allow-shlib-undefined"]
    subprocess.run([*drive, "-o", folder / "drive"], check=True)
    loaded = f"{folder / 'libcudart.so.12'}:{folder / 'libcuda.so.1'}"
    return {"LD_LIBRARY_PATH": str(torch / "lib"), "LD_PRELOAD": loaded}


def answers(name: str, folder: Path, environment: dict[str, str], seed: int = SEED) -> np.ndarray:
    """int64[event, 5]: address, and the states after each event, of the driver in `folder`."""
    case = CASES[name]
    lines = []
    if fraction := case.settings.get("per_process_memory_fraction"):
        lines.append(f"m {fraction / 100}")
    for op, slot, size, stream in rows_of(name, seed):
        lines.append(f"f {slot}" if op == FREE else f"a {slot} {size} {stream}")
    done = subprocess.run(
        [folder / "drive"],
        input="\n".join(lines),
        env={
            **os.environ,
            **environment,
            "PYTORCH_CUDA_ALLOC_CONF": conf(case.settings),
            "NOTHING_BYTES": str(case.settings["capacity_mb"] * MIB),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = np.array([row.split() for row in done.stdout.splitlines()], np.int64)
    return found[-EVENTS:]


def placed(name: str, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the addresses in `answers` the reserved segment and the offset in it; -1 where refused."""
    shift = 30 if CASES[name].settings.get("expandable_segments") else 62
    address = found[:, 0]
    start = int(address[address > 0].min()) & -(1 << 30)
    offset = np.where(address > 0, address - start, -1)
    return offset >> shift, np.where(offset >= 0, offset & ((1 << shift) - 1), -1)


def write(wheels: Path) -> Iterator[str]:
    """Write the keys."""
    with tempfile.TemporaryDirectory() as beside:
        folder = Path(beside)
        environment = built(wheels.absolute(), folder)
        for name in CASES:
            found = answers(name, folder, environment)
            segment, offset = placed(name, found)
            np.savez_compressed(
                FOLDER / f"cuda-caching-{name}.npz",
                segment=segment.astype(np.int16),
                offset=offset >> 9,
                states=found[:, 1:],
            )
            yield f"cuda-caching-{name}.npz: {len(found):,} events"


if __name__ == "__main__":
    for line in write(Path(sys.argv[1])):
        print(line)
