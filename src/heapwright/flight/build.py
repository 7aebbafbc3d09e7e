"""From a manager of the registry to a shared object that serves malloc.

    this process ─► a process of its own: boot, compile, optimise ─► object file ─► ld ─► libx.so

Finished objects are kept under a digest of the sources, the manager and its settings; whose
linker made them is all the same.
This process imports no compiler: a program that asks for its pool (see `numpy`) must not grow by
one. What is wrong with the settings is found by the process that compiles, which ends by REFUSED.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from heapwright.cache import alone, cache_home, kernels, used
from heapwright.closure import digest as closure_digest
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import Manager, named

SOURCES = ("compile", "interface", "callers", "account")  # what is compiled, with the manager
REFUSED = 3  # exit status of the process that compiles: its last line is for the person
LINKERS = ("ld", "ld.lld", "ld.gold", "ld.mold", "mold")
FLAGS = (
    "-shared",
    "-z",
    "initfirst",
    "-z",
    "now",
    "-z",
    "relro",
    "-z",
    "noexecstack",
    "-Bsymbolic",
    "-O1",
    "-s",
)


def build(
    manager_name: str, settings: Mapping[str, int] | None = None, *, statistics: bool = False
) -> Path:
    """Path of the shared object, made now or kept from before.

    With `statistics` it counts, and at a process's end writes what it counted (see `statistics`).
    HeapwrightError for an unknown manager or knob, and where nothing can be built.
    """
    manager = named(manager_name)
    if manager.collected:
        raise HeapwrightError(
            f"{manager_name} has a collector: a C program does not tell it what is still in use, "
            "so it cannot serve malloc."
        )
    if not manager.card.flies:
        raise HeapwrightError(
            f"{manager_name} does not fly: its twin replays traces and is not made to serve malloc "
            "under a real program."
        )
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        raise HeapwrightError("a flight needs Linux on x86-64; this machine is another.")
    built = _kept(manager, dict(settings or {}), statistics)
    if not built.exists():
        linker = _linker()
        with alone(built.parent):
            if not built.exists():
                _make(manager, dict(settings or {}), statistics, linker, built)
    return built


def _linker() -> str:
    for name in LINKERS:
        if found := shutil.which(name):
            return found
    raise HeapwrightError(
        "cannot build: there is no linker; install binutils (for ld) or lld, it is all that is "
        "needed besides heapwright."
    )


def _kept(manager: Manager, settings: dict[str, int], statistics: bool) -> Path:
    digest = hashlib.sha256(kernels(False).name.encode())
    here = [Path(__file__).with_name(f"{name}.py") for name in SOURCES]
    for source in [*here, manager.source]:
        digest.update(closure_digest(source).encode())
    about = [manager.module_path, sorted(settings.items()), statistics, FLAGS]
    digest.update(json.dumps(about).encode())
    name = re.sub(r"\s+", "-", manager.name)  # LD_PRELOAD is cut at spaces
    return used(cache_home() / "flight" / digest.hexdigest()[:16]) / f"lib{name}.so"


def _make(
    manager: Manager, settings: dict[str, int], statistics: bool, linker: str, target: Path
) -> None:
    """Compile in a process of its own, link, and move the result into place."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HEAPWRIGHT_INTERPRET", "NUMBA_BOUNDSCHECK", "LD_PRELOAD")
    }
    environment["HEAPWRIGHT_MACHINE"] = "linux"
    order = json.dumps({"manager": manager.name, "settings": settings, "statistics": statistics})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            code, linked = Path(folder) / "flight.o", Path(folder) / target.name
            compiler = [sys.executable, "-m", "heapwright.flight.compile", order, str(code)]
            _run(compiler, environment, f"cannot compile {manager.name} for flight")
            link = [linker, *FLAGS, "-soname", target.name, "-o", str(linked), str(code)]
            _run(link, environment, f"cannot link {manager.name} with {linker}")
            os.replace(linked, target)
    except OSError as error:
        raise HeapwrightError(
            f"cannot build in {target.parent}: {error.strerror}; HEAPWRIGHT_CACHE names another "
            "folder."
        ) from None


def _run(command: list[str], environment: dict[str, str], failure: str) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = done.stderr.strip().splitlines()
    if done.returncode == REFUSED and told:
        raise HeapwrightError(told[-1])
    if done.returncode:
        raise HeapwrightError(f"{failure}: {told[-1] if told else f'status {done.returncode}'}")
