"""A process's address space, of a twin or a real one, area by area."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.linux.smaps import Row
    from heapwright.trace.store import Trace


@dataclass
class Maps:
    """Areas in ascending order."""

    of: str  # whose
    areas: list[Row]
    notes: list[str] = field(default_factory=list)
    event: int | None = None  # of the trace; None of a real process

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Bytes mapped, resident and dirty by kind: heap, stack, mapped, file, shared."""
        found: dict[str, dict[str, int]] = {}
        for row in self.areas:
            of_kind = found.setdefault(
                row.kind, dict.fromkeys(("areas", "bytes", "resident_bytes", "dirty_bytes"), 0)
            )
            of_kind["areas"] += 1
            for key in ("bytes", "resident_bytes", "dirty_bytes"):
                of_kind[key] += getattr(row, key)
        return found

    def to_json(self) -> dict[str, Any]:
        """As `heapwright maps --json` prints it."""
        return {
            "of": self.of,
            "event": self.event,
            "totals": self.totals,
            "areas": [row.to_json() for row in self.areas],
            "notes": self.notes,
        }

    def as_pmap(self) -> str:
        """In the form of `pmap -x`."""
        from heapwright.linux.smaps import as_pmap

        return as_pmap(self.areas)

    def as_smaps(self) -> str:
        """In the form of /proc/PID/smaps."""
        from heapwright.linux.smaps import as_smaps

        return as_smaps(self.areas)


def maps(  # noqa: PLR0913 the moment and the conditions are named
    trace: str | os.PathLike[str] | Trace,
    *,
    manager: str = "",
    at: str | int = "peak",
    settings: Mapping[str, int] | None = None,
    touch: str | None = None,
    huge_pages: str = "never",
    progress: Callable[[int], None] = lambda events: None,
) -> Maps:
    """The address space of a manager's twin at an event of a trace, or at its "peak" or "end".

    `manager` is by default what the program runs on, of a kernel's trace slub.
    `huge_pages`: never, madvise or always, as the system's policy has them.
    HeapwrightError for a manager, knob or event that there is none of.

    >>> import heapwright as hw
    >>> hw.maps("ramp", manager="glibc").totals["heap"]["areas"]
    1
    """
    from heapwright.api.selection import opened_traces
    from heapwright.managers.present import ran_on
    from heapwright.tunnel.conditions import Conditions
    from heapwright.tunnel.space import WHEN, areas_at

    if isinstance(at, str) and at not in WHEN:
        raise HeapwrightError(f"a moment is an event's number, peak or end, not {at!r}.")
    with opened_traces([trace]) as (opened,):
        name = manager or ran_on(opened)
        conditions = Conditions.of(opened, touch, huge_pages)
        event, areas, notes = areas_at(
            name, opened, at, settings, conditions=conditions, progress=progress
        )
        return Maps(name, areas, [*opened.notes, *notes], event)


def maps_of_process(pid: int) -> Maps:
    """The address space of a process that runs; HeapwrightError where it cannot be read."""
    from heapwright.linux.smaps import MOST_BYTES, read_smaps

    path = Path(f"/proc/{pid}/smaps")
    try:
        with path.open(errors="replace") as file:
            text = file.read(MOST_BYTES)
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        raise HeapwrightError(
            f"there is no process {pid} here, or no /proc as Linux has it."
        ) from None
    except OSError as error:
        raise HeapwrightError(
            f"cannot read {path}: {error.strerror}; run as its user, or as root with the right to "
            "trace it."
        ) from None
    if not text:
        raise HeapwrightError(
            f"process {pid} ({command}) has no address space: it is a thread of the kernel, or has "
            "ended."
        )
    return Maps(f"{command} ({pid})", read_smaps(text, str(path)))
