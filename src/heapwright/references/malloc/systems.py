"""The real allocators that can be driven here: which library, how it is preloaded, what is missing.

    glibc      the C library itself, nothing to preload
    mallocng   musl's, linked into the harness
    jemalloc   libjemalloc.so.2            mimalloc   libmimalloc.so.2
    tcmalloc   libtcmalloc_minimal.so.4    (gperftools)
    mimalloc3  libmimalloc.so.3

A library is looked for in LD_LIBRARY_PATH, where the dynamic loader would find it, and among this
Python's packages: cmeel-mimalloc brings mimalloc 3.
"""

import functools
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.managers.card import Deploy
from heapwright.references.malloc import gperftools, libc, musl
from heapwright.versions import version_number, version_text

# A library that reaches its thread state by static TLS can be loaded late only with room for it.
LATE_LOADING = "glibc.rtld.optional_static_tls=4096"

# glibc's tunables, which the twin's knobs are named after.
GLIBC_KNOBS = (
    "arena_max",
    "arena_test",
    "mmap_max",
    "mmap_threshold",
    "mxfast",
    "tcache_count",
    "tcache_max",
    "tcache_unsorted_limit",
    "top_pad",
    "trim_threshold",
)
OWN_KNOBS = ("cores", "version")  # of the twin; the real one has them by being what and where it is
ARENAS_PER_CORE = {"glibc": 8, "jemalloc": 4}  # NARENAS_FROM_NCORES; malloc_narenas_default
ARENA_TEST = 8  # glibc: its default


@dataclass(frozen=True)
class System:
    """A real allocator. `prefix` is put before malloc, free, ... where it has names of its own."""

    name: str
    summary: str
    soname: str = ""  # "" for the C library
    package: str = ""  # Debian's and Ubuntu's name
    prefix: str = ""
    usable: str = "malloc_usable_size"  # the function that tells a block's usable size
    environment: dict[str, str] = field(default_factory=dict)  # for a quiet, default run
    deploy: Deploy | None = None  # None: its manager's card says it
    linked: bool = False  # into the harness, which drives it alone: no other program can load it
    newer: bool = False  # few systems have it: nothing is said where it is not here, unless asked


SYSTEMS = {
    system.name: system
    for system in (
        System("glibc", "the C library's malloc"),
        System(
            "jemalloc",
            "FreeBSD's and Meta's malloc",
            "libjemalloc.so.2",
            "libjemalloc2",
        ),
        System(
            "mimalloc",
            "Microsoft's malloc",
            "libmimalloc.so.2",
            "libmimalloc2.0",
            "mi_",
            "mi_usable_size",
        ),
        System(
            "mimalloc3",
            "Microsoft's malloc, version 3",
            "libmimalloc.so.3",
            "libmimalloc3, or pip install cmeel-mimalloc",
            "mi_",
            "mi_usable_size",
            newer=True,
        ),
        System(
            "tcmalloc",
            "gperftools' thread-caching malloc",
            "libtcmalloc_minimal.so.4",
            "libtcmalloc-minimal4",
            "tc_",
            "tc_malloc_size",
            environment={"TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(1 << 62)},
        ),
        System("mallocng", "musl's malloc", package="musl-dev", linked=True),
    )
}


@dataclass(frozen=True)
class Presence:
    """Whether a real allocator can be driven here: its library, or a sentence why not."""

    name: str
    library: Path | None  # None for the C library
    missing: str  # "" when it is here


def available() -> list[Presence]:
    """Each real allocator with the library found, or with what to install."""
    return [presence(name) for name in SYSTEMS]


def presence(name: str) -> Presence:
    """Whether the real allocator `name` can be driven here; HeapwrightError for an unknown name."""
    system = named(name)
    if sys.platform != "linux":
        return Presence(name, None, f"the real {name} is driven on Linux only.")
    if system.linked:
        return Presence(name, musl.archive(), musl.missing())
    if not system.soname:
        if libc.here():
            return Presence(name, None, "")
        return Presence(name, None, "this system's C library is not glibc.")
    library = _find(system.soname)
    if library is None:
        mend = f"install it, on Debian and Ubuntu: apt install {system.package}"
        return Presence(name, None, f"{system.soname} is not here; {mend}")
    return Presence(name, library, "")


def named(name: str) -> System:
    """The real allocator called `name`; an unknown name is an error that lists the known ones."""
    if name not in SYSTEMS:
        raise HeapwrightError(
            f"no real allocator named {name!r} can be driven; known: {', '.join(SYSTEMS)}."
        )
    return SYSTEMS[name]


def library(name: str, settings: Mapping[str, int] | None = None) -> Path | None:
    """The library of `name`, None for the C library; HeapwrightError when it is missing. With
    `settings`: of the version that they ask for."""
    if name == "tcmalloc" and (folder := elsewhere(name, settings or {})):
        return folder / gperftools.LIBRARY
    found = presence(name)
    if found.missing:
        raise HeapwrightError(f"cannot drive the real {name}: {found.missing}")
    return found.library


def deployed(name: str) -> Deploy:
    """How a program gets the real allocator `name`: as its card says, or it does itself."""
    from heapwright.managers.registry import managers

    own = named(name).deploy
    if own is None and name in managers():
        own = managers()[name].card.deploy
    return own or Deploy()


def variables(name: str, settings: Mapping[str, int]) -> dict[str, str]:
    """The environment that sets `settings` for a new process; HeapwrightError for what the real
    allocator cannot be told."""
    if name == "glibc":
        told = tunables(name, settings)
        return {"GLIBC_TUNABLES": told} if told else {}
    _of_this_version(name, settings.get("version", 0))
    if name == "jemalloc":
        settings = _on_its_cores(settings)
    own, settings = deployed(name), {k: v for k, v in settings.items() if k not in OWN_KNOBS}
    if unknown := [knob for knob in settings if knob not in own.knobs()]:
        raise HeapwrightError(
            f"the real {name} has no setting named {unknown[0]!r}; it has: "
            f"{', '.join(own.knobs()) or 'none'}."
        )
    return own.variables(settings) or {}


def tunables(name: str, settings: Mapping[str, int]) -> str:
    """The value of GLIBC_TUNABLES that sets `settings` for a new process."""
    if settings and name != "glibc":
        raise HeapwrightError(f"the real {name} takes no knobs of glibc.")
    told = {}
    for knob, value in settings.items():
        if knob in GLIBC_KNOBS:
            told[knob] = value
        elif knob not in OWN_KNOBS:
            raise HeapwrightError(
                f"the real glibc has no tunable named {knob!r}; it has: {', '.join(GLIBC_KNOBS)}."
            )
    cores = settings.get("cores", 0)
    if cores not in (0, len(os.sched_getaffinity(0))):  # on other cores: as many arenas as there
        least = settings.get("arena_test", ARENA_TEST) + 1
        told.setdefault("arena_max", max(least, ARENAS_PER_CORE["glibc"] * cores))
    return ":".join(f"glibc.malloc.{knob}={value}" for knob, value in told.items())


def _on_its_cores(settings: Mapping[str, int]) -> Mapping[str, int]:
    """What jemalloc is told so that it has the arenas that it would have on other cores."""
    cores = settings.get("cores", 0)
    if settings.get("narenas") or cores in (0, len(os.sched_getaffinity(0))):
        return settings
    return {**settings, "narenas": ARENAS_PER_CORE["jemalloc"] * cores if cores > 1 else 1}


def elsewhere(name: str, settings: Mapping[str, int]) -> Path | None:
    """Where the libraries lie that the version of glibc, or of tcmalloc, needs that `settings` ask
    for; None for this machine's. HeapwrightError where they are not given: see `libc`."""
    number = settings.get("version", 0)
    if name == "tcmalloc" and number:
        return gperftools.libraries(number, "" if presence(name).missing else version(name))
    return libc.libraries(version_text(number)) if name == "glibc" and number else None


def reachable(name: str, number: int) -> bool:
    """Whether that version of the real `name` can be driven here; 0: any."""
    if not number:
        return True
    if name == "glibc":
        return version_text(number) in (libc.here(), *libc.unpacked())
    known = [] if presence(name).missing else [version(name)]
    if name == "tcmalloc":
        known += gperftools.unpacked()
    return version_text(number) in known


def timed(name: str, settings: Mapping[str, int]) -> bool:
    """Whether the loop that replays the twins can call the real `name`, set so: not one that is
    linked into its harness, nor a glibc that is older than this machine's programs."""
    if name == "tcmalloc" and elsewhere(name, settings):
        return False
    if elsewhere(name, settings):
        return libc.serves_here(version_text(settings["version"]))
    return not named(name).linked


def _of_this_version(name: str, number: int) -> None:
    """Refuse a version that is asked for and is neither this machine's nor unpacked."""
    if name == "tcmalloc" and number:
        gperftools.libraries(number, version(name))
    elif number and version_number(version(name)) != number:
        raise HeapwrightError(
            f"the real {name} here is {version(name)}: version={version_text(number)} cannot be "
            "driven on this machine."
        )


def version(name: str, settings: Mapping[str, int] | None = None) -> str:
    """What the library itself says its version is, as "2.36"; asked in a process of its own. With
    `settings`: of the one that they ask for."""
    if elsewhere(name, settings or {}):
        return version_text((settings or {})["version"])
    path = library(name)
    if named(name).linked:
        return musl.version()
    if path is None:
        return libc.here() or "unknown"
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _ASK_VERSION, name, str(path)],
        env={"GLIBC_TUNABLES": LATE_LOADING},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = asked.stdout.strip()
    try:
        return version_text(version_number(said))  # as settings have it: 5.3.0 is 5.3
    except ValueError:
        return said or "unknown"


_ASK_VERSION = """
import ctypes, sys
name, library = sys.argv[1], ctypes.CDLL(sys.argv[2])
if name == "jemalloc":
    text, size = ctypes.c_char_p(), ctypes.c_size_t(8)
    library.mallctl(b"version", ctypes.byref(text), ctypes.byref(size), None, ctypes.c_size_t(0))
    print(text.value.decode().partition("-")[0])
elif name.startswith("mimalloc"):  # 209, 3012 and 30403 are 2.0.9, 3.0.12 and 3.4.3
    number = library.mi_version()
    if number < 1000:
        number = number // 100 * 10000 + number // 10 % 10 * 100 + number % 10
    elif number < 10000:
        number = number // 1000 * 10000 + number % 1000
    print(f"{number // 10000}.{number // 100 % 100}.{number % 100}")
else:
    library.tc_version.restype = ctypes.c_char_p
    print(library.tc_version(None, None, None).decode().split()[-1])
"""


@functools.cache
def _loader_cache() -> dict[str, Path]:
    """The dynamic loader's cache: soname to path, of this machine's word size."""
    for ldconfig in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            listed = subprocess.run(
                [ldconfig, "-p"], capture_output=True, text=True, timeout=30, check=False
            )
        except OSError:
            continue
        found: dict[str, Path] = {}
        for line in listed.stdout.splitlines():
            left, arrow, path = line.strip().partition(" => ")
            soname, _, kind = left.partition(" ")
            if arrow and "64" in kind:
                found.setdefault(soname, Path(path))
        return found
    return {}


def _find(soname: str) -> Path | None:
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if folder and (Path(folder) / soname).exists():
            return Path(folder).absolute() / soname
    return _loader_cache().get(soname) or _packaged(soname)


def _packaged(soname: str) -> Path | None:
    """A library that a package of this Python brought."""
    brought = Path(sysconfig.get_path("platlib"), "cmeel.prefix", "lib", soname)
    return brought if brought.exists() else None
