"""The search through a manager's states: all where time allows, else the best of each layer.

    breadth first for half of the time; the states that `game` finds equal are met once
    then a beam: of each layer of moves the `width` most promising states, as wide as what is left
    of the time allows

Promising is what `game.promise` says.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from heapwright.adversary.subject import Subject

ROWS = 1 << 24  # states at most
LAYERS_A_UNIT = 6  # moves for each live unit that a beam is meant to make
LEAST_WIDTH = 128
_CHUNK = 1 << 11  # states between two looks at the clock

Progress = Callable[[int, int], None]  # states found so far, worst units so far


def search(
    subject: "Subject",
    seconds: float,
    measure: Callable[[list[int]], int],
    progress: Progress | None = None,
) -> tuple[list[int], bool, int]:
    """Moves of the worst program found, whether every program was tried, states.

    `measure` says what a program really takes, in units, played from boot.
    """
    loop, fields = subject.loop, subject.game.fields
    _compile(subject)
    began = time.monotonic()
    worst: tuple[int, list[int]] = (0, [])
    states, misled = 0, True
    while misled and time.monotonic() < began + seconds / 2:
        run = _Run(subject, progress)
        whole = run.layers(began + seconds / 2, None)
        states += run.states
        claimed, moves = run.worst()
        real = measure(moves)
        worst = max(worst, (real, moves), key=lambda found: found[0])
        misled = run.misled or real != claimed
    both_zones = fields[loop.LOW] and fields[loop.MAPPED_LOW]
    if whole and not misled and not fields[loop.STRAY] and not both_zones:
        return worst[1], True, states
    left = began + seconds - time.monotonic()
    rate = run.expanded / max(1e-3, time.monotonic() - run.began)
    width = max(LEAST_WIDTH, int(rate * left / 2 / (LAYERS_A_UNIT * fields[loop.MOST_LIVE])))
    while time.monotonic() < began + seconds:
        run = _Run(subject, progress)
        run.layers(began + seconds, width)
        states += run.states
        moves = run.worst()[1]
        worst = max(worst, (measure(moves), moves), key=lambda found: found[0])
        width *= 2
    return worst[1], False, states


def _compile(subject: "Subject") -> None:
    """All that a search calls, so that the time given is the search's."""
    subject.act(subject.game, subject.loop.EXPAND, np.zeros(0, np.int64))
    run = _Run(subject, None)
    subject.loop.moves_to(run.game, 0)


class _Run:
    """One search from boot."""

    def __init__(self, subject: "Subject", progress: Progress | None) -> None:
        self.subject, self.progress = subject, progress
        self.nodes = subject.nodes(ROWS)
        self.fields = subject.game.fields
        self.expanded = 0  # states
        self.misled = False  # a word outside the known state had changed
        self.began = time.monotonic()
        loop = subject.loop
        self.fields[[loop.COUNT, loop.ROWS]] = 1, ROWS
        self.fields[[loop.WORST, loop.WORST_PARENT, loop.WORST_MOVE, loop.FULL, loop.STRAY]] = 0
        loop.reset(self.game)
        first = int(loop.fingerprint(self.game))
        self.nodes.print[0] = first
        self.nodes.row[first & (2 * ROWS - 1)] = 1

    @property
    def game(self) -> Any:
        """The subject's game with this search's states."""
        return self.subject.game._replace(nodes=self.nodes)

    @property
    def states(self) -> int:
        """States found."""
        return int(self.fields[self.subject.loop.COUNT])

    def layers(self, deadline: float, width: int | None) -> bool:
        """Layer after layer of moves until no state is new; False when it ended before that, or
        left any out. A beam goes on when it was misled: what it finds is played again anyhow."""
        loop = self.subject.loop
        layer, whole = np.zeros(1, np.int64), True
        while len(layer):
            before = self.states
            for start in range(0, len(layer), _CHUNK):
                rows = layer[start : start + _CHUNK]
                self.subject.act(self.game, loop.EXPAND, rows)
                self.expanded += len(rows)
                if self.progress:
                    unit = int(self.fields[loop.UNIT])
                    self.progress(self.states, -(-int(self.fields[loop.WORST]) // unit))
                if time.monotonic() > deadline or self.fields[loop.FULL]:
                    return False
            if self.subject.watch():
                self.misled, whole = True, False
                if not width:
                    break
            layer = np.arange(before, self.states)
            if width and len(layer) > width:
                whole = False
                scores = self.nodes.score[before : self.states]
                layer = before + np.argpartition(scores, -width)[-width:]
        return whole

    def worst(self) -> tuple[int, list[int]]:
        """Units that the worst sequence costs, and its moves."""
        loop = self.subject.loop
        if not self.fields[loop.WORST]:
            return 0, []
        count = loop.moves_to(self.game, int(self.fields[loop.WORST_PARENT]))
        moves = self.game.path[:count].tolist()
        units = -(-int(self.fields[loop.WORST]) // int(self.fields[loop.UNIT]))
        return units, [*moves, int(self.fields[loop.WORST_MOVE])]
