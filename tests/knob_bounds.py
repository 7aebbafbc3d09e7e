"""Where every knob of a manager is refused, in which words, and what a heap is booted as otherwise.

    bounds(manager)            {knob: values beside which what it comes to changes}
    booted(manager, knob, of)  a digest: the sentence, or the words of the heap, for each value

`make golden` finds the bounds anew and keeps both in `golden/`; the suite boots at those values.
"""

import hashlib
from itertools import pairwise

from heapwright.collectors.mutator import mutator
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import Manager

ASKED = (-2, -1, 0, 1, 2, 9, 64, 100, 4096, 1 << 16, 1 << 20, 1 << 30, 1 << 47)


def outcome(manager: Manager, knob: str, value: int, state_of=None) -> str:
    """A refusal's sentence, without the value; of a heap its state's digest, or nothing."""
    more = (mutator(64, 64),) if manager.collected else ()
    try:
        heap = manager.module.boot(machine(), manager.configured({knob: value}), *more)
    except HeapwrightError as refused:
        return str(refused).replace(f"{value:,}", "N").replace(str(value), "N")
    return state_of(heap) if state_of else ""


def bounds(manager: Manager) -> dict[str, list[int]]:
    """Of each knob the values on both sides of where it begins or ceases to be refused, its
    default's neighbours, and what the card's variants set."""
    found = {}
    for knob, default in manager.module.Config()._asdict().items():
        variants = [one[knob] for one in manager.card.variants if knob in one]
        values = {0, 1, int(default), int(default) + 1, *variants}
        asked = sorted({*ASKED, *values, int(default) - 1})
        for first, last in pairwise(asked):
            low, high, below = first, last, outcome(manager, knob, first)
            if outcome(manager, knob, last) == below:
                continue
            while high - low > 1:
                middle = (low + high) // 2
                same = outcome(manager, knob, middle) == below
                low, high = (middle, high) if same else (low, middle)
            values |= {low, high}
        found[knob] = sorted(values)
    return found


def booted(manager: Manager, knob: str, values: list[int], state_of) -> str:
    """What each of the values comes to."""
    told = [outcome(manager, knob, value, state_of) for value in values]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
