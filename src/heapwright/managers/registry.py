"""The managers by name. A new one is one line here, one file beside, one test.

Third parties register a module through the `heapwright.managers` entry point.
"""

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from heapwright.errors import HeapwrightError

REGISTRY = (
    "linear",
    "first-fit",
    "next-fit",
    "best-fit",
    "worst-fit",
    "segregated-fit",
    "half-fit",
    "tlsf",
    "buddy",
    "fibonacci-buddy",
    "region",
    "slots",
    "stack",
    "wright",
    "glibc",
    "refcount",
    "mark-sweep",
    "mark-compact",
    "semispace",
    "generational",
    "region-gc",
    "tri-colour",
    "go",
)
# Managers with a collector: they fly graph traces, and malloc traces with each live object a root.
COLLECTED: tuple[str, ...] = (
    "refcount",
    "mark-sweep",
    "mark-compact",
    "semispace",
    "generational",
    "region-gc",
    "tri-colour",
    "go",
)
# What collectors are compared with: glibc's descends from Lea's, the baseline of Hertz and Berger.
BASELINES = ("wright", "glibc")
# Made for programs of one kind: compared only when named, or with all.
SPECIAL = ("region", "slots", "stack")


@dataclass(frozen=True)
class Manager:
    """A registered manager: its name and where its module is."""

    name: str
    module_path: str

    @property
    def module(self) -> ModuleType:
        """The manager's module, imported now."""
        return importlib.import_module(self.module_path)

    @property
    def collected(self) -> bool:
        """Whether it has a collector; imports the module."""
        return hasattr(self.module, "new")

    def configured(self, settings: dict[str, int]) -> Any:
        """The manager's Config with `settings` over its defaults; an unknown knob is an error."""
        defaults = self.module.Config()
        for knob in settings:
            if knob not in defaults._fields:
                known = ", ".join(defaults._fields) or "none"
                raise HeapwrightError(
                    f"{self.name} has no knob named {knob!r}; its knobs: {known}."
                )
        return defaults._replace(**settings)


def managers() -> dict[str, Manager]:
    """Every registered manager in registry order, then those of installed entry points."""
    package = __name__.rpartition(".")[0]
    found = {name: Manager(name, f"{package}.{name.replace('-', '_')}") for name in REGISTRY}
    for entry in entry_points(group="heapwright.managers"):
        found.setdefault(entry.name, Manager(entry.name, entry.value))
    return found


def usual(*, graph: bool = False) -> list[str]:
    """The managers that are compared by default.

    Of a malloc trace all without a collector, but for those made for programs of one kind, and Go,
    whose heap serves malloc's sizes too. Of a graph trace all with one, and beside them what frees
    each object at once.
    """
    known = managers()
    if graph:
        return [name for name in known if name in COLLECTED + BASELINES]
    return [name for name in known if name == "go" or name not in SPECIAL + COLLECTED]


def named(name: str) -> Manager:
    """The manager called `name`; an unknown name is an error that lists the known ones."""
    found = managers()
    if name not in found:
        raise HeapwrightError(f"no manager is named {name!r}; known: {', '.join(found)}.")
    return found[name]
