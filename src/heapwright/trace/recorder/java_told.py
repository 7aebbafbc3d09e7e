"""What a JVM told the recorder of itself, and what that makes of the trace.

    objects as this JVM lays them out ─► bytes without header, references of 8 bytes each

Source     JVMTI's GetObjectSize of an Object, an Integer and an Object[1000], asked when it is up
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.gc_log import GcLog, read
from heapwright.trace.notes import ELSEWHERE, Note
from heapwright.trace.recorder import graph_books as at

WORD_BYTES = 8
TOLD_BYTES = 1 << 12  # that are read
BRIEFLY_BIRTHS = 64  # within which dies what no look reached
KEEPING_PACE = (
    "Its optimising compiler kept pace with the program, as with -Xbatch: what it left out (escape "
    "analysis) is not here, and a run that is not recorded allocates more until it has caught up. "
    "Recorded again with -XX:-DoEscapeAnalysis, it has the most that such a run allocates."
)
_NO_ESCAPE = re.compile(r"-Xint|-XX:-DoEscapeAnalysis|-XX:TieredStopAtLevel=[0-3]\b")
_COMPACT, _WIDE_INTEGER = 8, 24  # bytes of an Object with a header of 8, an Integer with one of 16


def of_a_jvm(maps: str) -> list[Note]:
    """What must be known of a recording without a graph whose process, of these mappings, is a
    JVM."""
    if not re.search(r"/libjvm\.so$", maps, re.MULTILINE):
        return []
    return [
        Note(
            "The program is a Java VM: these are the requests of the VM itself and of its "
            "libraries, not its heap of objects, which `heapwright record --graph -- java ...` "
            "records.",
            ELSEWHERE,
        )
    ]


def _collections(log: Path, options: str) -> GcLog | None:
    try:
        found = read(log)
    except HeapwrightError:
        return None
    found.options = options
    return found


def _whole(version: str) -> str:
    """25.0 of 25, 17.0.15 of 17.0.15-ea."""
    found = re.match(r"\d{1,3}(\.\d{1,3}){0,3}", version)
    number = found[0] if found else ""
    return number if "." in number or not number else f"{number}.0"


class JavaTold(NamedTuple):
    """One run of a JVM."""

    version: str
    vm: str
    header_bytes: int  # of an object: its mark and its class
    reference_bytes: int
    options: str = ""  # of its heap and its collector
    log: GcLog | None = None  # of its collections

    @property
    def wider_bytes(self) -> int:
        """By which a reference of the trace is wider."""
        return WORD_BYTES - self.reference_bytes

    @classmethod
    def read(cls, path: Path, log: Path, options: str) -> "JavaTold":
        """What the agent wrote, and what of its collections was logged; HeapwrightError where the
        former is not whole."""
        try:
            text = path.read_text(errors="replace")[:TOLD_BYTES]
        except OSError:
            text = ""
        known = dict(line.partition("=")[::2] for line in text.splitlines())

        def number(name: str) -> int:
            return int(value) if (value := known.get(name, "")).isdecimal() else 0

        reference = number("reference")
        if reference not in (4, WORD_BYTES):
            raise HeapwrightError(
                "the JVM did not say how it lays out objects: record it with an OpenJDK from 11 on"
            )
        header = 16 if number("integer") == _WIDE_INTEGER else 12
        header = 8 if number("object") == _COMPACT else header
        return cls(
            _whole(known.get("version", "")),
            known.get("vm", "")[:80],
            header,
            reference,
            options,
            _collections(log, options),
        )

    def origin(self) -> dict[str, str]:
        """For the trace's facts."""
        told = {"java": self.version, "vm": self.vm, "options": self.options}
        return {name: text for name, text in told.items() if text}

    def notes(self, count: np.ndarray, look_every: int) -> list[Note]:
        """What a reader of the trace has to know."""
        brief, births = int(count[at.BRIEF_OBJECTS]), int(count[at.OBJECTS])
        met = int(count[at.MET])
        looks, again = int(count[at.LOOKS]), int(count[at.FOUND_AGAIN])
        return [
            Note(
                "The objects are those of the Java heap, sizes and classes exact; what the JVM "
                "itself asks of malloc is not in it (record without --graph has that). References "
                f"and deaths are seen at {looks:,} looks, at least {look_every:,} births apart: "
                "what the next look no longer reaches dies between the two, "
                "as far into that time as it was born into its own."
            ),
            Note(
                f"{brief:,} of {births:,} objects were never reached by a look: each is taken to "
                f"die within {BRIEFLY_BIRTHS} births of its own.",
                cases=brief,
            ),
            Note(
                f"{met:,} objects, {int(count[at.MET_BYTES]):,} bytes, were there before the "
                "recording began or were made by the JVM unseen: they are born where a look met "
                "them.",
                cases=met,
            ),
            Note(
                f"Of its own collections {self.log.youngs:,} young and {self.log.fulls:,} full "
                "ones are kept, as the JVM logged them."
                if self.log
                else "Of its own collections none are kept: the JVM logged none."
            ),
            *([Note(KEEPING_PACE)] if not _NO_ESCAPE.search(self.options) else []),
            Note(
                "Reference objects and finalisers are not declared: weak, phantom and final "
                "references keep nothing alive, soft ones all, and no collector clears one in a "
                f"replay; {again:,} objects were out of reach at a look and in use again later.",
                cases=again,
            ),
        ]
