"""Two managers as one: the upper one's verbs, and what the ground beneath it adds to their sums.

    program ─► upper ─► ground ─► machine
    live, rounding, headers, caches, free    of the upper manager, in what it took of the ground
    headers, caches, free                    of the ground, around that

Terms      taken: what the upper manager holds of the ground, areas and blocks passed on; to the
           ground it is live
Invariant  the upper manager's; no two areas overlap (check: 98); the ground's, its number + 100
Source     docs/decisions/0010-grounds.md
Omits      locks of their own: one lock serves both

This file is bound to the linear manager twice; in a copy `upper` is a manager whose machine is the
`ground` beside it.
"""

from collections import namedtuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.managers import ground
from heapwright.managers.contract import config_of
from heapwright.managers.textbook.linear import manager as beneath
from heapwright.managers.textbook.linear import manager as upper

NAMES = ("linear", "linear")  # of the two
GROUND = "ground_"  # before a knob or path of the ground that the upper manager has too

_upper_knobs, _ground_knobs = upper.Config()._asdict(), beneath.Config()._asdict()
_knob_of = {  # of the ground: its name in Config
    knob: f"{GROUND}{knob}" if knob in _upper_knobs else knob for knob in _ground_knobs
}
_defaults = _upper_knobs | {_knob_of[knob]: value for knob, value in _ground_knobs.items()}
Config = namedtuple("Config", _defaults, defaults=_defaults.values())

PATHS = (*upper.PATHS, *(f"{NAMES[1]}: {path}" for path in beneath.PATHS))
HEADERLESS = getattr(upper, "HEADERLESS", False) or getattr(beneath, "HEADERLESS", False)
FOLLOWING = (*getattr(upper, "FOLLOWING", ()), *getattr(beneath, "FOLLOWING", ()))

alloc, free, usable, extent = upper.alloc, upper.free, upper.usable, upper.extent
for _verb in ("calloc", "realloc", "passed", "alloc_in", "calloc_in"):
    if hasattr(upper, _verb):
        globals()[_verb] = getattr(upper, _verb)


def configured(settings):
    """What each of the two makes of its settings: the upper one's, the ground's."""
    above, below = _split(settings)
    return config_of(upper, above), config_of(beneath, below)


def _split(settings):
    """Those of the upper manager, and those of the ground by their names there."""
    above = {knob: value for knob, value in settings.items() if knob in _upper_knobs}
    return above, {knob: settings[name] for knob, name in _knob_of.items() if name in settings}


def ignored(settings):
    """What either of the two does not take, in sentences."""
    above, below = _split(settings)
    told = upper.ignored(above) if hasattr(upper, "ignored") else []
    return told + (beneath.ignored(below) if hasattr(beneath, "ignored") else [])


def boot(machine, configs):
    """The ground on the machine, the upper manager on it; both count their paths in one array."""
    paths, own = np.zeros(len(PATHS), np.int64), len(upper.PATHS)
    above, below = configs
    stood_on = ground.ground(machine, below)
    stood_on = stood_on._replace(heap=stood_on.heap._replace(paths=paths[own:]))
    return upper.boot(stood_on, above)._replace(paths=paths)


@kernel
def cached(heap, blocks):
    """The caches of both."""
    rows = upper.cached(heap, blocks)
    return rows + beneath.cached(heap.machine.heap, blocks[min(rows, len(blocks)) :])


@kernel
def metadata(heap, blocks):
    """The memory that both live in, and what the ground adds to each area."""
    rows = upper.metadata(heap, blocks)
    rows += ground.own_memory(heap.machine, blocks[min(rows, len(blocks)) :])
    return rows + beneath.metadata(heap.machine.heap, blocks[min(rows, len(blocks)) :])


_exits = [getattr(storey, "thread_exit", None) for storey in (upper, beneath)]
_upper_exit, _beneath_exit = _exits
if _upper_exit and _beneath_exit:

    @kernel
    def thread_exit(heap, thread):
        """The thread leaves the upper manager, then the ground."""
        _upper_exit(heap, thread)
        _beneath_exit(heap.machine.heap, thread)

elif _upper_exit:
    thread_exit = _upper_exit
elif _beneath_exit:

    @kernel
    def thread_exit(heap, thread):
        """The thread leaves the ground."""
        _beneath_exit(heap.machine.heap, thread)


# What the program does to its allocator reaches whichever knows it; the break is the ground's.
if hasattr(upper, "trim"):
    trim = upper.trim
elif hasattr(beneath, "trim"):
    _beneath_trim = beneath.trim

    @kernel
    def trim(heap, pad):
        """malloc_trim of the ground."""
        return _beneath_trim(heap.machine.heap, pad)


if hasattr(upper, "mallopt"):
    mallopt = upper.mallopt
elif hasattr(beneath, "mallopt"):
    _beneath_mallopt = beneath.mallopt

    @kernel
    def mallopt(heap, parameter, value):
        """mallopt of the ground."""
        _beneath_mallopt(heap.machine.heap, parameter, value)


if hasattr(beneath, "move_break"):
    _beneath_move_break = beneath.move_break

    @kernel
    def move_break(heap, increment):
        """The program moves the break below the ground."""
        _beneath_move_break(heap.machine.heap, increment)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = upper.check(heap)
    if broken:
        return broken
    broken = beneath.check(heap.machine.heap)
    if broken:
        return 100 + broken
    return 0 if ground.check(heap.machine) else 98


def notes(heap):
    """What its figures mean, in sentences: of both."""
    told = [*upper.notes(heap)] if hasattr(upper, "notes") else []
    return told + ([*beneath.notes(heap.machine.heap)] if hasattr(beneath, "notes") else [])


def fatal(heap):
    """Why a real program would be dead by now; "" if it would not."""
    ended = upper.fatal(heap) if hasattr(upper, "fatal") else ""
    if not ended and hasattr(beneath, "fatal"):
        ended = beneath.fatal(heap.machine.heap)
    return ended
