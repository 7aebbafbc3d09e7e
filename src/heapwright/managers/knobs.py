"""What each knob of a manager is: its default, its unit and a sentence, read from the sources.

    class Config: top_pad: int = 128 << 10  # M_TOP_PAD: extra bytes at each growth of the heap
                                          └─► the sentence; the unit from the name, or the card

The comment beside a knob is the only place where it is explained; tables, `heapwright managers` and
its JSON show it.
"""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from heapwright.managers.registry import Manager, named

# Of a knob whose name does not say it; a card's `units` go over these.
SUFFIXES = {
    "_bytes": "bytes",
    "_percent": "%",
    "_pages": "pages",
    "_blocks": "blocks",
    "_objects": "objects",
    "_ms": "ms",
    "_shift": "log2",
    "_count": "blocks",
    "version": "version",
}
SWITCH = re.compile(r"\b0:? \w+.*\b1:? \w+|^1: ")
COUNT, CHOICE = "count", "choice"
OF_THE_REAL = "which version of the real system it is"
NAMED_SO = "as its name says"


class Knob(NamedTuple):
    """One knob."""

    default: int
    unit: str
    sentence: str


def knobs(manager: Manager) -> dict[str, Knob]:
    """Every knob of a manager, in its own order."""
    module: Any = manager.module
    beneath = named(manager.card.stands_on) if manager.card.stands_on else None
    below = knobs(beneath) if beneath else {}
    texts = [Path(path).read_text() for path in _sources(manager)]
    found = {}
    for name, default in module.Config()._asdict().items():
        own = name.removeprefix("ground_")
        if own in below and (name != own or own != "version"):
            found[name] = below[own]._replace(default=int(default))
            continue
        sentence = _of_versions(manager) if name == "version" else _sentence(name, texts)
        unit = manager.card.units.get(name) or _unit(name, sentence)
        found[name] = Knob(int(default), unit, sentence or NAMED_SO)
    return found


def _of_versions(manager: Manager) -> str:
    """Which version there is, and which was compared with no real one."""
    unproven = manager.card.unproven
    told = [f"{each}, not driven" if each in unproven else each for each in manager.versions]
    return f"{OF_THE_REAL}: {'; '.join(told)}" if len(told) > 1 else OF_THE_REAL


def _sources(manager: Manager) -> list[str]:
    """Where its knobs may be explained: its own files, that of its Config, what it is built of."""
    module: Any = manager.module
    own = sys.modules.get(manager.own_path, module)
    homes = [own, sys.modules[module.Config.__module__]]
    for value in vars(own).values():
        home = getattr(value, "__module__", None) or getattr(value, "__name__", None)
        if isinstance(home, str) and home.startswith("heapwright.") and home in sys.modules:
            homes.append(sys.modules[home])
    files = [path for home in homes if (path := getattr(home, "__file__", None))]
    return list(dict.fromkeys(files))


def _sentence(knob: str, texts: list[str]) -> str:
    """The comment beside its default, and those that follow it on lines of their own."""
    beside = re.compile(
        rf'^[ \t]+"?{re.escape(knob)}"?[ \t]*[:=][^=\n][^#\n]*#[ \t]*(.+(?:\n[ \t]+#.*)*)$',
        re.MULTILINE,
    )
    for text in texts:
        if match := beside.search(text):
            return " ".join(line.strip(" \t#") for line in match[1].splitlines())
    return ""


def _unit(knob: str, sentence: str) -> str:
    if SWITCH.search(sentence):
        return CHOICE
    for suffix, unit in SUFFIXES.items():
        if knob.endswith(suffix):
            return unit
    return COUNT
