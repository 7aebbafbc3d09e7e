"""What was not seen, guessed or assumed: sentences that a trace carries and every command repeats.

    recorder, importers ─► TraceWriter.note ─► footer ─► Trace.notes ─► under every result

Kinds that others act upon
    cut         the recording stops before the program's end: `record` ends with a failure
    stopped     it stops before the program's end, as was asked
    inherited   the heap was not as a fresh process has it: the addresses are no exact key
    running     the program still ran when its log was read
    elsewhere   a part of the program was not recorded: another process, another image
    unexplained the process had much memory that the recording does not hold
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

NOTES = 200  # that are kept; further ones are counted
TEXT_CHARACTERS = 2000  # of a note
KIND_CHARACTERS = 40
COUNT_LIMIT = 1 << 53
NOTES_KEY = b"heapwright.notes"  # of the metadata of an exported table
NOTES_BYTES = 1 << 20  # there

CUT, INHERITED, RUNNING, ELSEWHERE = "cut", "inherited", "running", "elsewhere"
UNEXPLAINED, STOPPED = "unexplained", "stopped"


class Note(str):
    """A sentence, of what kind it is, and how many cases it tells of (0: not counted)."""

    kind: str
    cases: int

    def __new__(cls, text: str, kind: str = "note", cases: int = 0) -> "Note":
        """A note; text and kind are cut to their limits."""
        note = super().__new__(cls, text[:TEXT_CHARACTERS])
        note.kind, note.cases = kind[:KIND_CHARACTERS], min(max(int(cases), 0), COUNT_LIMIT - 1)
        return note

    def __reduce__(self) -> tuple[type["Note"], tuple[str, str, int]]:
        return Note, (str(self), self.kind, self.cases)


def of_kind(notes: Iterable[str], kind: str) -> list[str]:
    """The notes of a kind."""
    return [note for note in notes if getattr(note, "kind", "note") == kind]


def stored(notes: Iterable[str]) -> list[dict[str, Any]]:
    """The notes as they are kept: each once, at most NOTES, and how many more there were."""
    kept: dict[str, dict[str, Any]] = {}
    left_out = 0
    for text in notes:
        note = text if isinstance(text, Note) else Note(text)
        if str(note) in kept:
            kept[str(note)]["count"] += note.cases
        elif len(kept) < NOTES:
            kept[str(note)] = {"text": str(note), "kind": note.kind, "count": note.cases}
        else:
            left_out += 1
    if left_out:
        text = f"{left_out:,} further notes were left out."
        kept[text] = {"text": text, "kind": "note", "count": left_out}
    return list(kept.values())


def parsed(value: Any) -> list[str] | None:
    """The notes of a stored list, sentences alone included; None when it is none."""
    if not isinstance(value, list) or len(value) > NOTES + 1:
        return None
    found: list[str] = []
    for item in value:
        entry = {"text": item} if isinstance(item, str) else item
        if not isinstance(entry, dict):
            return None
        text, kind, count = entry.get("text"), entry.get("kind", "note"), entry.get("count", 0)
        if not isinstance(text, str) or not isinstance(kind, str) or type(count) is not int:
            return None
        found.append(Note("".join(c if c.isprintable() else " " for c in text), kind, count))
    return found


def exported(metadata: Mapping[bytes, bytes] | None) -> list[str]:
    """The notes in the metadata of a table that was exported."""
    text = (metadata or {}).get(NOTES_KEY, b"[]")
    try:
        return parsed(json.loads(text[:NOTES_BYTES])) or []
    except ValueError:
        return []
