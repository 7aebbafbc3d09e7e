"""The managers by name, found by their place: a folder of a family's folder, with a card.

    managers/FAMILY/NAME/__init__.py   CARD        managers/FAMILY/NAME/manager.py   the manager

Third parties name such a package, or one module that is card and manager at once, in the entry
point group `heapwright.managers`; they are held to the same contract.
"""

import contextlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from heapwright.errors import HeapwrightError
from heapwright.managers import contract
from heapwright.managers.card import Card, Kind
from heapwright.managers.grounds import MACHINE, OVER, storeys
from heapwright.versions import version_number, version_text

FAMILIES = ("textbook", "malloc", "runtime", "linux", "device")  # in the order of tables
THIRD_PARTY = "third party"


@dataclass(frozen=True)
class Manager:
    """A manager: its name, where its card is, and its family."""

    name: str
    package: str
    family: str = THIRD_PARTY

    @cached_property
    def card(self) -> Card:
        """What it says of itself; imports the package, of the house's own nothing heavier."""
        card = getattr(importlib.import_module(self.package), "CARD", None)
        if not isinstance(card, Card):
            raise HeapwrightError(
                f"{self.package} has no CARD, so {self.name!r} cannot be used as a manager; see "
                "heapwright.managers.card."
            )
        return card

    @cached_property
    def module_path(self) -> str:
        """The module that a replay binds: its own, or that over the ground it always stands on."""
        if self.card.stands_on:
            beneath = named(self.card.stands_on)
            return storeys((self.name, self.own_path), (beneath.name, beneath.module_path))
        return self.own_path

    @cached_property
    def own_path(self) -> str:
        """The manager's own module: `manager` in the package, or the package itself."""
        if hasattr(importlib.import_module(self.package), "__path__"):
            inner = f"{self.package}.manager"
            if importlib.util.find_spec(inner):
                return inner
        return self.package

    @cached_property
    def source(self) -> Path:
        """The file of that module, which is not imported for this."""
        spec = importlib.util.find_spec(self.module_path)
        if spec is None or spec.origin is None:
            raise HeapwrightError(f"{self.name} has no source: {self.module_path} is no file.")
        return Path(spec.origin)

    @cached_property
    def module(self) -> ModuleType:
        """The manager's module, imported now and held to the contract."""
        module = importlib.import_module(self.module_path)
        if found := contract.faults(self.card, module):
            raise HeapwrightError(f"{self.name} is no manager: {'; '.join(found)}.")
        return module

    @property
    def below(self) -> "Manager | None":
        """The manager that it stands on; None: the machine."""
        return named(self.card.stands_on) if self.card.stands_on else None

    @property
    def versions(self) -> tuple[str, ...]:
        """Values of its knob `version`, the newest last."""
        return self.card.versions

    @property
    def collected(self) -> bool:
        """Whether it has a collector, which is told of no death."""
        return self.card.collected

    def template(self, *, graph: bool) -> str:
        """Which replay loop serves it on a trace with or without an object graph."""
        serves = self.card.serves
        return "graph_loop" if "malloc" not in serves or (graph and "graph" in serves) else "loop"

    def configured(self, settings: dict[str, int]) -> Any:
        """What `boot` is given: the manager's Config with `settings` over its defaults, or what the
        manager itself makes of them; an unknown knob or version is an error."""
        defaults = self.module.Config()
        for knob in settings:
            if knob not in defaults._fields:
                known = ", ".join(defaults._fields) or "none"
                raise HeapwrightError(
                    f"{self.name} has no knob named {knob!r}; its knobs: {known}."
                )
        versions = {version_number(each): each for each in self.card.versions}
        if versions and settings.get("version", defaults.version) not in versions:
            raise HeapwrightError(
                f"{self.name} has no version {version_text(settings['version'])} here; it has: "
                f"{', '.join(versions.values())}."
            )
        return contract.config_of(self.module, settings)

    def ignored(self, settings: dict[str, int]) -> list[str]:
        """A sentence for each of these settings that is as if it had not been given."""
        said: list[str] = getattr(self.module, "ignored", lambda settings: [])(settings)
        return said


@dataclass(frozen=True)
class Storeys(Manager):
    """A manager over another; its knobs are those of both (see managers/storeys.py)."""

    upper: Manager | None = None
    beneath: Manager | None = None  # None: the machine

    @cached_property
    def card(self) -> Card:
        """The upper one's, but for what only it alone has."""
        assert self.upper
        card = self.upper.card
        below = self.beneath.name if self.beneath else f"the {MACHINE}"
        return replace(
            card,
            summary=f"{card.summary}; over {below}",
            stands_on="",
            versions=(),
            reference="",
            limit_knob="",
            deploy=None,
            flies=card.flies and (self.beneath is None or self.beneath.card.flies),
        )

    @property
    def below(self) -> Manager | None:
        """The one that it was put on."""
        return self.beneath

    @property
    def versions(self) -> tuple[str, ...]:
        """Of the upper one."""
        assert self.upper
        return self.upper.versions

    @cached_property
    def module_path(self) -> str:
        """The module bound to both."""
        assert self.upper
        if self.beneath is None:
            return self.upper.own_path
        return storeys(
            (self.upper.name, self.upper.own_path), (self.beneath.name, self.beneath.module_path)
        )


@cache
def _over(name: str) -> Manager:
    """The manager called "A over B"; HeapwrightError where A's card does not allow B."""
    above, _, below = name.partition(OVER)
    upper = named(above.strip())
    allowed = upper.card.ground
    if not allowed:
        takers = [other.name for other in managers().values() if _stands(other)]
        raise HeapwrightError(
            f"{upper.name} stands on the machine alone, so there is no {name!r}; what stands on "
            f"other managers: {', '.join(takers)}."
        )
    if below.strip() == MACHINE:
        return Storeys(name, upper.package, upper.family, upper)
    beneath = named(below.strip())
    if beneath.collected or not ("*" in allowed or beneath.name in allowed):
        told = "any that serves malloc" if "*" in allowed else ", ".join(allowed)
        raise HeapwrightError(f"{upper.name} does not stand on {beneath.name}; it takes {told}.")
    return Storeys(name, upper.package, upper.family, upper, beneath)


def _stands(manager: Manager) -> bool:
    try:
        return bool(manager.card.ground)
    except (ImportError, HeapwrightError):
        return False


@cache
def _own() -> dict[str, Manager]:
    """The house's own, family by family in alphabetical order."""
    package = __name__.rpartition(".")[0]
    home = Path(__file__).parent
    found = {}
    for family in FAMILIES:
        for module in pkgutil.iter_modules([str(home / family)]):
            if module.ispkg:
                name = module.name.replace("_", "-")
                found[name] = Manager(name, f"{package}.{family}.{module.name}", family)
    return found


def managers() -> dict[str, Manager]:
    """Every manager: the house's own by family, then those of installed entry points."""
    found = dict(_own())
    for name, module in _installed(tuple((folder, _changed_ns(folder)) for folder in sys.path)):
        found.setdefault(name, Manager(name, module))
    return found


@cache
def _installed(path: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    """Names and modules of entry points, while `path`, folders and when they changed, is the same:
    to find them is to open a file of every distribution."""
    return tuple((entry.name, entry.value) for entry in entry_points(group="heapwright.managers"))


def _changed_ns(folder: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(folder or ".").st_mtime_ns
    return 0


def usual(*, graph: bool = False, python: bool = False, kernel: bool = False) -> list[str]:
    """The managers that are compared by default: those whose cards say so for such a trace; of a
    Python's every malloc that a program can have, under Python's own allocator and alone; of a
    kernel's those that are told of its doors."""
    if python and (above := _pythons()):
        mallocs = [
            name
            for name, manager in _own().items()
            if manager.family == "malloc"
            and manager.card.deploy is not None
            and manager.card.compared_on("malloc")
        ]
        mallocs.sort(key=lambda name: name != system_malloc())
        return [*(f"{above}{OVER}{name}" for name in mallocs), *mallocs]
    if kernel:
        return [name for name, manager in _own().items() if manager.card.doors]
    kind: Kind = "graph" if graph else "malloc"
    return [name for name, manager in managers().items() if _compared(manager, kind)]


def system_malloc() -> str:
    """The malloc that a program here runs on unless somebody preloads another; "" of none."""
    own = (
        name
        for name, manager in _own().items()
        if "malloc" in manager.card.serves
        and manager.card.deploy is not None
        and not (manager.card.deploy.preload or manager.card.deploy.library)
    )
    return next(own, "")


def runs_on(*, python: bool = False, kernel: bool = False, device: bool = False) -> str:
    """What a program here runs on unless something is set: a Python's own allocator over that; a
    kernel on its own, of a device's memory the device's allocator."""
    if kernel:
        return "slub"
    if device:
        return next(name for name, manager in _own().items() if manager.family == "device")
    below = system_malloc()
    return f"{above}{OVER}{below}" if python and (above := _pythons()) else below


def _pythons() -> str:
    """The allocator of Python itself: the one whose version is that of a trace's Python, and that
    stands on a malloc."""
    able = (name for name, one in _own().items() if one.card.version_of == "python")
    return next((name for name in able if _own()[name].card.ground), "")


def _compared(manager: Manager, kind: Kind) -> bool:
    try:
        return manager.card.compared_on(kind)
    except (ImportError, HeapwrightError):
        return True  # broken: the comparison says so, and the others go on


def named(name: str) -> Manager:
    """The manager called `name`, or "A over B"; an unknown name is an error that lists all."""
    if OVER in name:
        return _over(name)
    found = managers()
    if name not in found:
        raise HeapwrightError(f"no manager is named {name!r}; known: {', '.join(found)}.")
    return found[name]
