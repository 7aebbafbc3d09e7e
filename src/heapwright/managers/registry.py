"""The managers by name, found by their place: a folder of a family's folder, with a card.

    managers/FAMILY/NAME/__init__.py   CARD        managers/FAMILY/NAME/manager.py   the manager

Third parties name such a package, or one module that is card and manager at once, in the entry
point group `heapwright.managers`; they are held to the same contract.
"""

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from heapwright.errors import HeapwrightError
from heapwright.managers import contract
from heapwright.managers.card import Card, Kind

FAMILIES = ("textbook", "malloc", "runtime")  # in the order of tables
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
        """The module that a replay binds: `manager` in the package, or the package itself."""
        if hasattr(importlib.import_module(self.package), "__path__"):
            inner = f"{self.package}.manager"
            if importlib.util.find_spec(inner):
                return inner
        return self.package

    @cached_property
    def module(self) -> ModuleType:
        """The manager's module, imported now and held to the contract."""
        module = importlib.import_module(self.module_path)
        if found := contract.faults(self.card, module):
            raise HeapwrightError(f"{self.name} is no manager: {'; '.join(found)}.")
        return module

    @property
    def collected(self) -> bool:
        """Whether it has a collector, which is told of no death."""
        return self.card.collected

    def template(self, *, graph: bool) -> str:
        """Which replay loop serves it on a trace with or without an object graph."""
        serves = self.card.serves
        return "graph_loop" if "malloc" not in serves or (graph and "graph" in serves) else "loop"

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
    for entry in entry_points(group="heapwright.managers"):
        found.setdefault(entry.name, Manager(entry.name, entry.value))
    return found


def usual(*, graph: bool = False) -> list[str]:
    """The managers that are compared by default: those whose cards say so for such a trace."""
    kind: Kind = "graph" if graph else "malloc"
    return [name for name, manager in managers().items() if _compared(manager, kind)]


def system_malloc() -> str:
    """The malloc that a program here runs on unless somebody preloads another; "" of none."""
    own = (
        name
        for name, manager in _own().items()
        if "malloc" in manager.card.serves
        and manager.card.deploy is not None
        and not manager.card.deploy.preload
    )
    return next(own, "")


def _compared(manager: Manager, kind: Kind) -> bool:
    try:
        return manager.card.compared_on(kind)
    except (ImportError, HeapwrightError):
        return True  # broken: the comparison says so, and the others go on


def named(name: str) -> Manager:
    """The manager called `name`; an unknown name is an error that lists the known ones."""
    found = managers()
    if name not in found:
        raise HeapwrightError(f"no manager is named {name!r}; known: {', '.join(found)}.")
    return found[name]
