"""Advice under a memory limit: whom the kernel would kill, and who stays below.

    limit ─ what the process had outside of its heap ─► room ─► who has it before who has not

Without swap a process is killed when its anonymous memory and its page tables do not fit; of files
the kernel gives up pages first. So the peak decides, measured where the row was run.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from heapwright.insight.advice import Advised, Row
from heapwright.trace.process import ANON, HEAP
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

TABLE_SHARE = 512  # a page of page tables tells of so many pages


class Room(NamedTuple):
    """What a memory limit leaves to the heap."""

    limit_bytes: int
    outside_bytes: int  # anonymous memory outside of the recorded heap when there was most
    known: bool  # the recording looked at the whole process

    @classmethod
    def of(cls, limit_bytes: int, trace: "Trace") -> "Room":
        """The room of a program, by what its process had beside its heap."""
        peak = trace.process().peak
        outside = 0 if peak is None else max(0, int(peak[ANON]) - int(peak[HEAP]))
        return cls(limit_bytes, outside, peak is not None)

    def over(self, row: Row) -> int:
        """By how many bytes a row is over the limit at its peak; less than 0: so much is left."""
        peak = (row.measured or row.predicted).peak_resident_bytes
        return peak + peak // TABLE_SHARE + self.outside_bytes - self.limit_bytes


def under(order: Sequence[Row], present: Row, room: Room) -> list[Row]:
    """The rows with those first that stay below the limit, else in the same order.

    If the present state is killed, whoever stays below is advice, however little else it saves;
    whoever is killed is none, unless all are.
    """
    for row in [*order, present]:
        row.killed = room.over(row) > 0
    if all(row.killed for row in [*order, present]):
        return list(order)
    for row in order:
        row.level = bool(row.killed) or (row.level and not present.killed)
    return sorted(order, key=lambda row: (bool(row.killed), row.level))


def put_under(advice: Advised, limit_bytes: int | None) -> None:
    """Put first what is not killed under the limit, if there is one, and say so."""
    if limit_bytes is None:
        return
    room = Room.of(limit_bytes, advice.trace)
    advice.rows[:] = under(advice.rows, advice.present, room)
    advice.under_limit = limit_sentence(advice.rows, advice.present, room)


def limit_sentence(order: Sequence[Row], present: Row, room: Room) -> str:
    """What the limit does to the present state, and to the first advice."""
    limit, peak = bytes_text(room.limit_bytes), present.measured or present.predicted
    beside = f" beside {bytes_text(room.outside_bytes)} outside of it" if room.outside_bytes else ""
    if not room.known:
        beside = "; what the process has outside of it is not known and not counted"
    holds = f"its heap takes {bytes_text(peak.peak_resident_bytes)} at the peak{beside}"
    below = [row for row in order if not row.killed]
    if not present.killed:
        over = len(order) - len(below)
        told = f"Under {limit} the program lives as it is, with {bytes_text(-room.over(present))} "
        told += f"left: {holds}"
        return (
            f"{told}; {over} of {len(order)} that were tried would be killed."
            if over
            else f"{told}."
        )
    told = f"Under {limit} the program would be killed as it is: {holds}"
    if not below:
        least = min(order, key=room.over) if order else present
        return (
            f"{told}. So it would be with all {len(order)} that were tried; the least, "
            f"{least.candidate.title}, is over by {bytes_text(room.over(least))}."
        )
    first = below[0]
    left = -room.over(first)
    sure = left > first.unsure * first.predicted.peak_resident_bytes or first.measured
    doubt = "" if sure else ", which is within the uncertainty"
    return (
        f"{told}. {len(below)} of {len(order)} that were tried stay below; "
        f"{first.candidate.title} leaves {bytes_text(left)}{doubt}."
    )
