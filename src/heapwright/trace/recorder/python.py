"""Python's part of a log: nodes of its stacks become the trace's tree, and its arenas a table.

    record of a node: parent, code, line ┐
    LOG.code: names of each code         ┴─► Tree ─► the site of each event

A node of code 0 is a C function below a line of Python: its return address stands for the line.
What python.h and python_stack.h write is explained there.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heapwright.trace.notes import ELSEWHERE, Note
from heapwright.trace.recorder.log import ADDRESS_SHIFT, ARENA, NODE, Log, Window
from heapwright.trace.recorder.matching import SITES, Matching
from heapwright.trace.recorder.sites import stored_sites
from heapwright.trace.schema import MEM, Events
from heapwright.trace.stacks import Stacks, Tree

NODE_BIT = 1 << 47  # of a caller that is a node
NODES = 1 << 21  # as in python_stack.h
ARENAS = 1 << 18  # changes that are kept
NO_LINE = 0xFFFFFFFF
_PYTHON = re.compile(r"/(lib)?python3[0-9.]*(\.so\S*)?$", re.MULTILINE)
TEXT_BYTES = 1 << 28  # of a LOG.code that are read


class Python:
    """What is known of the Python of a history of logs, window by window."""

    def __init__(self, logs: Sequence[Log], told: str) -> None:
        """`told`: what the last log says of it, as `3.11.7 hooked`; "" of no Python."""
        self.version, _, self.how = told.partition(" ")
        self.tree = Tree()
        self.arenas: list[tuple[int, int, int]] = []  # event, base, bytes; given back: negative
        self.arenas_left_out = 0
        self.mapped_bytes = 0  # most at once of what is no arena: the interpreter's own stack
        self.objects = 0  # requests of the domains mem and object
        self._mapped = 0
        self._names: dict[int, str] = {}  # of a code: "function\tfile"
        for log in logs:
            self._names |= _names(log.path)
        self._nodes = np.zeros((1 << 12, 3), np.int64)  # parent, code, line or return address
        self._known = np.full(1 << 12, -2, np.int32)  # of a node: in the tree; -2 not yet looked up
        self._sites = np.zeros(0, np.int32)  # of a row of callers: in the tree
        self._addresses: dict[int, int] = {}  # of a frame that is C's: the return address

    @property
    def hooked(self) -> bool:
        """Whether its requests were recorded."""
        return self.how.startswith("hooked")

    def take(self, rows: Window, count: int) -> None:
        """Take the records of nodes out of the window."""
        found = np.flatnonzero(rows.op[:count] == NODE)
        rows.op[found] = 0
        numbers = rows.address[found] >> ADDRESS_SHIFT
        sound = (numbers > 0) & (numbers < NODES)
        found, numbers = found[sound], numbers[sound]
        if not len(found):
            return
        if int(numbers.max()) >= len(self._nodes):
            room = 2 * int(numbers.max())
            nodes, known = np.zeros((room, 3), np.int64), np.full(room, -2, np.int32)
            nodes[: len(self._nodes)], known[: len(self._known)] = self._nodes, self._known
            self._nodes, self._known = nodes, known
        word, high = rows.size[found], np.maximum(rows.slack[found].astype(np.int64), 0)
        self._nodes[numbers, 0] = word & 0xFFFFFFFF
        self._nodes[numbers, 1] = word >> 32 | high << 16
        self._nodes[numbers, 2] = rows.caller[found]
        self._known[numbers] = -2

    def enter(self, rows: Window, count: int, events: Events, before: int, state: Matching) -> None:
        """The events of a window that was matched, whose sites become nodes of the tree, and its
        arenas; `before`: events of the windows before it."""
        if not self.hooked:
            return
        self.objects += int(np.count_nonzero(events.domain >= MEM))
        self._to_sites(events.site, state.callers[: state.counts[SITES]])
        for row in np.flatnonzero(rows.op[:count] == ARENA).tolist():
            size, gone = int(rows.size[row]), int(rows.caller[row]) & 1
            event = before + int(rows.slack[row]) - gone  # a free is told before it is done
            if size < 1 << 18:  # the smallest arena of any version
                self._mapped += -size if gone else size
                self.mapped_bytes = max(self.mapped_bytes, self._mapped)
            elif len(self.arenas) < ARENAS:
                self.arenas.append((event, int(rows.address[row]), -size if gone else size))
            else:
                self.arenas_left_out += 1

    def _to_sites(self, site: np.ndarray, callers: np.ndarray) -> None:
        """Turn rows of `callers` in the column `site` into nodes of the tree, in place."""
        fresh = [self._site(caller) for caller in callers[len(self._sites) :].tolist()]
        self._sites = np.concatenate([self._sites, np.array(fresh, np.int32)])
        asked = site >= 0
        site[asked] = self._sites[site[asked]]

    def frames(self, process: str) -> tuple[list[str], dict[str, str], Stacks]:
        """The names of the tree's frames, the build-ids of files that they name, and the tree."""
        stored, modules = stored_sites(list(self._addresses.values()), process)
        names = list(self.tree.frames)
        for row, name in zip(self._addresses, stored, strict=True):
            names[row] = name
        return names, modules, self.tree.arrays()

    def notes(self, process: str, attached: bool, native: bool) -> list[str]:
        """What was not seen; `attached`: the program ran before the recording began; `native`:
        whole native stacks were asked for."""
        if not self.how:
            if attached and _PYTHON.search(process):
                return [
                    Note(
                        "A Python that runs already is recorded as malloc alone: what its own "
                        "allocator serves is not in the recording; begin it by `heapwright "
                        "record`.",
                        ELSEWHERE,
                    )
                ]
            if "/libpython" not in process:
                return []
            return [
                Note(
                    "It embeds a Python that was loaded later: recorded as malloc alone, so what "
                    "that Python's own allocator serves is not in the recording.",
                    ELSEWHERE,
                )
            ]
        told: list[str] = []
        if not self.hooked:
            why = "is free-threaded"
            if self.how == "left-out":
                why = "was left out (--no-python, or parts by --rotate)"
            told.append(
                Note(
                    f"Python {self.version} {why}: recorded as malloc alone, so what its own "
                    "allocator serves is not in the recording.",
                    ELSEWHERE,
                )
            )
        elif not self.objects:
            told.append(
                Note(
                    f"Python {self.version} ran without the recorder's hooks (PYTHONMALLOC, -X dev "
                    "or a program of its own sets others): recorded as malloc alone.",
                    ELSEWHERE,
                )
            )
        elif self.how != "hooked":
            told.append(
                Note(f"The recorder does not know the frames of Python {self.version}: no stacks.")
            )
        if self.tree.without or len(self.tree.frames) == 0 < self.objects * (self.how == "hooked"):
            told.append(Note("Some call stacks found no room.", "stacks", self.tree.without))
        if self.hooked and native:
            told.append(
                Note(
                    "--stacks: of a Python program a stack is its lines, and below them the C "
                    "function that asked malloc."
                )
            )
        if self.mapped_bytes:
            told.append(
                Note(
                    f"The interpreter mapped {self.mapped_bytes:,} bytes at once for its own stack "
                    "of frames: they are no requests.",
                    "mapped",
                    self.mapped_bytes,
                )
            )
        if self.arenas_left_out:
            told.append(
                Note(
                    f"{self.arenas_left_out:,} arenas past the first {ARENAS:,} are not kept: its "
                    "addresses are checked up to there.",
                    "arenas",
                    self.arenas_left_out,
                )
            )
        return told

    def _site(self, caller: int) -> int:
        """The node of the tree for a caller: a node of the log, or a return address alone."""
        if not caller & NODE_BIT:  # small: a node of tree.h, from before the hooks
            return self._native(-1, caller) if caller >= NODES else -1
        node = caller & NODE_BIT - 1
        return self._node(node) if 0 < node < len(self._nodes) else -1

    def _node(self, node: int) -> int:
        """The tree's node for one of the log; the way up is walked, as stacks are deep."""
        way: list[int] = []
        while node and self._known[node] == -2 and len(way) <= NODES:
            way.append(node)
            parent = int(self._nodes[node, 0])
            node = parent if parent < node else 0  # only in a damaged log
        at = int(self._known[node]) if node else -1
        for node in reversed(way):
            _, code, where = self._nodes[node].tolist()
            if code == 0:
                at = self._native(at, where)
            elif (name := self._line(code, where)) is not None:
                child = self.tree.child(at, self.tree.frame(name))
                self.tree.without += child < 0
                at = child if child >= 0 else at
            self._known[node] = at
        return at

    def _native(self, parent: int, address: int) -> int:
        frame = self.tree.frame(f"0x{address:x}")
        self._addresses[frame] = address
        return self.tree.child(parent, frame)

    def _line(self, code: int, line: int) -> str | None:
        """`function (folder/file.py:12)`; None of the interpreter's own."""
        function, _, file = self._names.get(code, "?\t?").partition("\t")
        if not file:
            return None
        place = "/".join(file.split("/")[-2:])
        return f"{function} ({place})" if line == NO_LINE else f"{function} ({place}:{line})"


def _names(log: Path) -> dict[int, str]:
    """The names of codes that lie beside a log: a line each, its number, its function, its file."""
    beside = log.with_name(log.name + ".code")
    if not beside.exists():
        return {}
    with beside.open(errors="replace") as file:
        lines = file.read(TEXT_BYTES).splitlines()
    parted = (line.partition("\t") for line in lines)
    return {int(number): names for number, _, names in parted if number.isdecimal()}
