"""What a manager's module must have, as a function that answers in sentences.

The registry asks it of every module that is bound, an entry point's as well as the house's own;
the conformance suite and authors elsewhere ask it too. The names are explained in
managers/__init__.py.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from heapwright.managers.card import Card
from heapwright.versions import version_text

ALWAYS = ("Config", "PATHS", "boot", "usable", "extent", "cached", "metadata", "check")
SERVING = {
    "malloc": ("alloc", "free"),
    "graph": ("new", "write", "collect", "vacant"),
}
ARGUMENTS = {  # of the kernels, as the loops call them
    "alloc": 4,
    "free": 3,
    "usable": 3,
    "extent": 3,
    "cached": 2,
    "metadata": 2,
    "check": 1,
    "new": 5,
    "write": 4,
    "collect": 1,
    "vacant": 2,
    "calloc": 3,
    "realloc": 4,
    "alloc_in": 5,
    "calloc_in": 4,
    "thread_exit": 2,
    "passed": 3,
    "rooted": 2,
    "unrooted": 2,
    "declare": 4,
    "got": 2,
    "trim": 2,
    "mallopt": 3,
    "move_break": 2,
    "configured": 1,
    "ignored": 1,
}
HALVES = (
    "NOWHERE", "place_of", "nowhere", "is_small",
    "alloc_cached", "alloc_cached_larger", "alloc_uncached", "free_cached",
    "free_in_span", "free_uncached",
)  # fmt: skip
FORK = ("fork_prepare", "fork_parent", "fork_child")


def faults(card: Card, module: ModuleType | Any) -> list[str]:
    """What `module` lacks for what its card promises, a sentence each; none if it is sound."""
    name = getattr(module, "__name__", "the module")
    found = [f"the card of {name} serves nothing; serves is malloc, graph or both"]
    if card.serves:
        found = []
    for kind in card.serves:
        if kind not in SERVING:
            found.append(f"the card of {name} serves {kind!r}, which is not malloc or graph")
    if card.incremental > len(card.variants):
        found.append(f"the card of {name} has {card.incremental} incremental variants of fewer")
    needed = [*ALWAYS, *(verb for kind in card.serves for verb in SERVING.get(kind, ()))]
    absent = [verb for verb in needed if not hasattr(module, verb)]
    if absent:
        found.append(f"{name} lacks {', '.join(absent)}")
    for verb, count in ARGUMENTS.items():
        if (takes := _arguments(getattr(module, verb, None))) not in (None, count):
            found.append(f"{name}.{verb} takes {takes} arguments, not {count}")
    found += _of_knobs(card, module, name)
    halves = [verb for verb in HALVES if hasattr(module, verb)]
    if halves and len(halves) < len(HALVES):
        found.append(f"{name} has {', '.join(halves)}; of {', '.join(HALVES)} all or none")
    if card.doors != hasattr(module, "DOORS"):
        found.append(f"{name}.DOORS and the card's doors do not say the same")
    if getattr(module, "LOCKING", "own") != "own":
        found.append(f'{name}.LOCKING is "own" or absent, not {module.LOCKING!r}')
    if hasattr(module, "LOCKING") and not all(hasattr(module, verb) for verb in FORK):
        found.append(f"{name} locks by itself and lacks one of {', '.join(FORK)}")
    return found


def config_of(module: ModuleType | Any, settings: Mapping[str, int]) -> Any:
    """What the module's `boot` is given for these settings, whose names are known."""
    if hasattr(module, "configured"):
        return module.configured(settings)
    return module.Config()._replace(**settings)


def _of_knobs(card: Card, module: Any, name: str) -> list[str]:
    """Faults of Config, PATHS and what the card says of knobs."""
    found = []
    config = getattr(module, "Config", None)
    if config is None:
        return []
    try:
        defaults = config()._asdict()
    except (TypeError, AttributeError):
        return [f"{name}.Config is not a NamedTuple whose every knob has a default"]
    wrong = [knob for knob, value in defaults.items() if type(value) is not int]
    if wrong:
        found.append(f"{name}.Config has knobs that are not integers: {', '.join(wrong)}")
    paths = tuple(getattr(module, "PATHS", ()))
    if len(set(paths)) != len(paths):
        found.append(f"{name}.PATHS names a path twice")
    deploy = card.deploy
    told = {knob: "variants" for variant in card.variants for knob in variant}
    told |= {card.limit_knob: "limit_knob"} if card.limit_knob else {}
    if deploy:
        named = [*deploy.knobs(), *deploy.ranges, *deploy.threaded]
        told |= dict.fromkeys([*named, *(knob for each in deploy.tries for knob in each)], "deploy")
    told |= {"version": "versions"} if card.versions else {}
    if card.versions and version_text(defaults.get("version", 0)) not in card.versions:
        found.append(f"the card of {name} does not name the default version among its versions")
    for knob, where in told.items():
        if knob not in defaults:
            found.append(f"the card of {name} names in {where} a knob {knob!r} that Config lacks")
    return found


def _arguments(function: Any) -> int | None:
    """How many arguments a kernel takes; None of what is absent or cannot be asked."""
    source = getattr(function, "py_func", function)
    try:
        return len(inspect.signature(source).parameters)
    except (TypeError, ValueError):
        return None
