"""Small object graphs, and when real versions of CPython collected on them, and what.

    python tests/collector_programs.py ["COMMAND" ...]    write managers/keys/cpython-* (make keys)

A key has, for each program, gc.get_count() before and after, the tracked objects of the
interpreter's own, and the rows of gc.callbacks: event, generation, collected, uncollectable. The
programs are made anew from their parameters. Keys of weak references
say which were cleared, and whose callbacks called. Nothing in a key comes from a twin.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.references.cpython.collector import VARIABLE, Collected, drive
from heapwright.trace import programs
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice
from heapwright.trace.schema import (
    CALLBACK,
    COLLECT,
    CONTAINER,
    LEGACY,
    REFER,
    REVIVES,
    WEAK,
    Events,
)

FOLDER = Path(__file__).parent / "managers" / "keys"
LOW = {"threshold0": 25, "threshold1": 3, "threshold2": 2}
# By name: a program, its parameters, and the knobs of both
PROGRAMS: dict[str, tuple[str, dict[str, int], dict[str, int]]] = {
    "service": (
        "python-service",
        {"objects": 2_600, "sessions": 20, "collect_every": 60, "old_per_million": 20_000},
        LOW,
    ),
    "lists": ("linked-lists", {"objects": 2_000, "lists": 6, "nodes": 8}, LOW),
    "compiler": (
        "compiler",
        {"objects": 2_000, "names": 50, "least_tokens": 10, "most_tokens": 200},
        LOW,
    ),
    "map": ("red-black-map", {"objects": 1_200, "entries": 150}, LOW),
    "defaults": ("linked-lists", {"objects": 3_500, "lists": 300}, {}),
}


def graph(name: str) -> tuple[list[Events], int]:
    """The events of a program, and its slots."""
    batches: list[Events] = []
    program, chosen, _ = PROGRAMS[name]
    with Mutator(batches.append) as mutator:
        programs.program(program).run(mutator, programs.parameters(program, chosen))
    return batches, 1 + max(int(batch.slot.max()) for batch in batches)


def weak_graph(nodes: int = 100, seed: int = 3) -> tuple[list[Events], int]:
    """Objects that refer to each other at random, strongly and weakly, and are let go of."""
    batches: list[Events] = []
    dice = Dice(seed)
    with Mutator(batches.append) as m:
        table = m.root(m.new(8 * 24, 24))
        for _ in range(nodes):
            with m.frame():
                kinds = [REVIVES if dice.below(9) == 0 else 0 for _ in range(2 + dice.below(3))]
                kinds[-1] = LEGACY if dice.below(60) == 0 else kinds[-1]
                made = [m.new(80, 4, kind=CONTAINER + kind) for kind in kinds]
                for _ in range(dice.below(4)):
                    called = CALLBACK if dice.below(2) else 0
                    made.append(m.refer(WEAK | called, made[dice.below(2)], 64, 3))
                for _ in range(4):
                    one, other = made[dice.below(len(made))], made[dice.below(len(made))]
                    m.write(one, 1 + dice.below(2), other)
                m.write(table, dice.below(24), made[dice.below(len(made))])
                if dice.below(40) == 0:
                    m.steer(COLLECT + dice.below(3))
    slots = 1 + max(int(batch.slot.max()) for batch in batches)
    assert sum(int((batch.op == REFER).sum()) for batch in batches) > nodes
    return batches, slots


def answer(name: str) -> Collected:
    """What the real interpreter of the environment says."""
    return drive(*graph(name), PROGRAMS[name][2])


def read(path: Path) -> dict[str, Collected]:
    """A key, by program."""
    kept = json.loads(path.read_text())
    return {
        name: Collected(
            kept["version"],
            row["own"],
            tuple(row["counts"]),
            tuple(row["end"]),
            np.array(row["runs"], np.int64).reshape(-1, 4),
            row["frozen"],
            heard=np.array(row.get("heard", []), np.int64).reshape(-1, 3),
        )
        for name, row in kept["programs"].items()
    }


def write(path: str, answers: dict[str, Collected]) -> None:
    """Write a key; `path` may name the version."""
    found: dict[str, Any] = {}
    version = ""
    for name, real in answers.items():
        version = real.version
        found[name] = {
            "own": real.own,
            "frozen": real.frozen,
            "counts": real.counts,
            "end": real.end,
            "runs": real.runs.tolist(),
        }
        if len(real.heard):
            found[name]["heard"] = real.heard.tolist()
    text = json.dumps({"version": version, "programs": found}, separators=(",", ":"))
    (FOLDER / path.format(version)).write_text(text.replace("},", "},\n") + "\n")


def main(commands: list[str]) -> None:
    for command in commands or [os.environ.get(VARIABLE, "")]:
        if command:
            os.environ[VARIABLE] = command
        write("cpython-{}.json", {name: answer(name) for name in PROGRAMS})
        write("weakrefs-{}.json", {"weak": drive(*weak_graph(), LOW)})


if __name__ == "__main__":
    main(sys.argv[1:])
