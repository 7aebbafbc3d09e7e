"""A recording of a real kernel: its snapshots, and trace events decoded, kprobes among them.

formats text ─► layouts      dump ─► snapshots │ MARK RAW │ ring pages ─► events
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from heapwright.linux.recorded.dump import Snapshot, read
from heapwright.trace.importers.ring_pages import MARK, PAGE, bodies, fields_of, layouts

Event = tuple[int, str, dict[str, Any]]  # time, name, fields


class _Every:
    """Whatever name."""

    def __contains__(self, name: object) -> bool:
        return True


class Recording(NamedTuple):
    """What one boot of a kernel wrote down."""

    snapshots: dict[str, Snapshot]
    lines: list[str]  # of its dump
    events: list[Event]

    def between(self, first: str, last: str) -> list[Event]:
        """The events from one mark to another."""
        marks = {
            fields.get("buf", b"")[:40]: row
            for row, (_, name, fields) in enumerate(self.events)
            if name == "print"
        }
        at = {_text(mark): row for mark, row in marks.items()}
        return self.events[at[first] + 1 : at[last]]


def _text(mark: bytes | str) -> str:
    text = mark if isinstance(mark, str) else mark.partition(b"\0")[0].decode("ascii", "replace")
    return text.strip()


def section(text: str, name: str) -> str:
    """The part of a console's text that a line `=== name` opens."""
    _, _, rest = text.partition(f"=== {name}\n")
    return rest.partition("\n=== ")[0]


def recording(console: str, dump: bytes) -> Recording:
    """What a boot left: the text with the events' layouts, and the dump with the ring's pages."""
    written, _, raw = dump.partition(MARK)
    lines = written.decode("latin1").splitlines()
    known = layouts("\n" + section(console.replace("\r", ""), "formats"), _Every())
    snapshots = {item.label: item for item in read(lines) if isinstance(item, Snapshot)}
    return Recording(snapshots, lines, list(_events(raw, known)))


def _events(raw: bytes, known: Any) -> Iterator[Event]:
    for start in range(0, len(raw) - PAGE + 1, PAGE):
        for time, body in bodies(raw[start : start + PAGE]):
            layout = known.get(int.from_bytes(body[:2], "little"))
            if layout is None:
                continue
            if layout.name == "print":  # its text goes on past the fields
                offset = layout.fields["buf"].offset
                yield time, "print", {"buf": body[offset:]}
            else:
                yield time, layout.name, fields_of(layout, body)


def names(events: Iterable[Event]) -> set[str]:
    """The kinds of events that there are."""
    return {name for _, name, _ in events}
