"""The lines that give a program another memory manager, or another setting of its own.

    Deploy and settings ─► environment ─► a line for a shell, a Dockerfile, systemd, Kubernetes

What is printed is what `heapwright advise --run` applies: one environment makes them all.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from heapwright.managers.card import Deploy

PRELOAD = "LD_PRELOAD"
WITHOUT_PYTHONS = {"PYTHONMALLOC": "malloc"}  # each request of a Python is malloc's then
BUILT_INTO = "/usr/local/lib"  # where the lines put a library that a command makes


@dataclass(frozen=True)
class Deployment:
    """One candidate as it is deployed."""

    environment: Mapping[str, str]
    install: str = ""  # Debian's package, or ""
    build: str = ""  # command that makes the library, with its place
    code: str = ""  # what no environment can say: a line for the program itself
    start: str = ""  # of that, what a Python can be made to do before it begins

    @property
    def library(self) -> str:
        """What is preloaded; "" where nothing is."""
        return self.environment.get(PRELOAD, "")

    def said(self) -> str:
        """The environment as one puts it before a command; the code where there is none."""
        told = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        return told or self.code

    def lines(self, command: str = "") -> dict[str, str]:
        """By what reads them: `shell`, `dockerfile`, `systemd`, `kubernetes`; all empty of what is
        changed in the program."""
        if not self.environment:
            return dict.fromkeys(("shell", "dockerfile", "systemd", "kubernetes"), "")
        pairs = self.environment.items()
        assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in pairs)
        before, made = [], []
        if self.install:
            before = [f"sudo apt-get install -y {self.install}"]
            made = [
                "RUN apt-get update && apt-get install -y --no-install-recommends "
                f"{self.install} && rm -rf /var/lib/apt/lists/*"
            ]
        elif self.build:
            before = [self.build]
            made = [f"COPY {self.library.rpartition('/')[2]} {self.library}"]
        quoted = " ".join(f'"{name}={_escaped(value)}"' for name, value in pairs)
        entries = "".join(f'\n  - name: {name}\n    value: "{_escaped(v)}"' for name, v in pairs)
        return {
            "shell": "\n".join([*before, f"{assigned} {command or 'CMD'}"]),
            "dockerfile": "\n".join(
                [*made, "ENV " + " ".join(f'{name}="{_escaped(v)}"' for name, v in pairs)]
            ),
            "systemd": f"[Service]\nEnvironment={quoted}",
            "kubernetes": f"env:{entries}",
        }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def deployment(
    deploy: Deploy, settings: Mapping[str, int], kept: Mapping[str, int] | None = None
) -> Deployment | None:
    """How a program gets it; None where one of the settings cannot be set from outside.

    `kept`: what its environment already says to the same manager, and goes on saying; where both
    stand in one variable the new value holds both.
    """
    if settings and all(knob in deploy.calls for knob in settings):
        code = "; ".join(deploy.calls[knob].format(value) for knob, value in settings.items())
        births = settings.get("freeze_at", 0)
        when = f", once it has started ({births:,} births)" if births else ""
        return Deployment({}, code=f"import gc; {code}{when}", start="" if births else code)
    outside = {k: v for k, v in settings.items() if k in deploy.knobs()}
    compiled = {k: v for k, v in settings.items() if k not in outside}
    if compiled and not deploy.preload:
        return None
    own = deploy.variables(outside) or {}
    if deploy.variable in own:
        stay = {k: v for k, v in (kept or {}).items() if k in deploy.tunables and k not in outside}
        own = deploy.variables({**stay, **outside}) or own
    if deploy.library:
        return Deployment({PRELOAD: deploy.library, **own}, install=deploy.package)
    if deploy.preload:
        name = deploy.preload.split()[-1]
        placed = f"{BUILT_INTO}/{name}"
        knobs = "".join(f" --set {knob}={value}" for knob, value in compiled.items())
        build = deploy.preload.removesuffix(name) + placed + knobs
        return Deployment({PRELOAD: placed, **own}, build=build)
    return Deployment(own)


def trimming(seconds: float) -> Deployment:
    """A call of malloc_trim every so often, by the program itself."""
    every = f"{seconds:g}"
    return Deployment(
        {},
        code=f"every {every} s, in a thread of its own: malloc_trim(0); in Python "
        'ctypes.CDLL("libc.so.6").malloc_trim(0)',
    )
