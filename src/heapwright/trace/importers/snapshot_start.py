"""What lay on a device when a history began: its end, walked back.

    segments at the end ─► undo each segment_*, alloc, free_completed, the last first ─► the start
    a segment ─► blocks and holes by address ─► requests that make it again

Of a block that was freed in the history only what was asked for is known: it may have been longer
by up to 1 MiB, which is not split off. A gap of no more than that after a large block is its own.
Of an expandable segment what lies beyond its last block is taken for not mapped.

Source     PyTorch c10/cuda/CUDACachingAllocator.cpp: get_allocation_size, should_split
"""

import bisect
from typing import Any, NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.trace.schema import SIZE_LIMIT

GRANULE_BYTES, SMALL_BYTES = 512, 1 << 20
SMALL_SEGMENT = 2 << 20
LEAST_OWN = 10 << 20  # of a segment that one request made
MOST_PIECES = 1 << 20
LIMIT = 1 << 62


class Piece(NamedTuple):
    """A request that makes a part of a segment again."""

    address: int
    size: int
    stream: int
    live: bool  # else a hole, freed when all is asked for
    passing: bool = False  # freed at once: it makes the segment


class Segment(NamedTuple):
    """A segment of the device."""

    size: int
    small: bool
    stream: int
    expandable: bool


class Start(NamedTuple):
    """The device at the start."""

    pieces: list[Piece]
    overlapping: int  # blocks that cannot be


def number(record: Any, key: str, most: int = LIMIT) -> int:
    """A number of a record that is not negative and below `most`; -1 where there is none."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if type(value) is int and 0 <= value < most else -1


def _rounded(size: int) -> int:
    return max(GRANULE_BYTES, -(-size // GRANULE_BYTES) * GRANULE_BYTES)


def start_of(segments: list[Any], history: list[Any]) -> Start:
    """The requests that lead to where the history begins."""
    held, live = _at_the_end(segments)
    for event in reversed(history):
        action = event.get("action") if isinstance(event, dict) else None
        address, size = number(event, "addr"), number(event, "size", SIZE_LIMIT)
        if address <= 0 or size < 0:
            continue
        if action in ("segment_alloc", "segment_map"):
            held.pop(address, None)
        elif action == "segment_free":
            stream = event.get("stream", 0)
            if type(stream) is int and size > 0:
                held[address] = Segment(size, size == SMALL_SEGMENT, stream, expandable=False)
        elif action == "alloc":
            live.pop(address, None)
        elif action == "free_completed":
            live[address] = _rounded(size)
    return _pieces(held, live)


def _at_the_end(
    segments: list[Any],
) -> tuple[dict[int, Segment], dict[int, int]]:
    """Segments (bytes, small, stream) and live blocks (bytes) by address."""
    held: dict[int, Segment] = {}
    live: dict[int, int] = {}
    for segment in filter(lambda each: isinstance(each, dict), segments):
        at, size = number(segment, "address"), number(segment, "total_size", SIZE_LIMIT)
        stream = segment.get("stream", 0)
        if at <= 0 or size <= 0 or type(stream) is not int:
            continue
        small, expandable = segment.get("segment_type") == "small", segment.get("is_expandable")
        held[at] = Segment(size, small, stream, expandable is True)
        blocks = segment.get("blocks")
        for block in blocks if isinstance(blocks, list) else []:
            length = number(block, "size", SIZE_LIMIT)
            if length <= 0:
                continue
            here = number(block, "address")
            at = here if here > 0 else at
            if block.get("state") != "inactive":
                live[at] = length
            at += length
    return held, live


def _pieces(held: dict[int, Segment], live: dict[int, int]) -> Start:
    """Each segment from end to end."""
    starts, lost = sorted(held), 0
    inside: dict[int, list[int]] = {}
    for address in sorted(live):
        row = bisect.bisect_right(starts, address) - 1
        if row < 0 or address + live[address] > starts[row] + held[starts[row]][0]:
            lost += 1  # an expandable segment's part that was not mapped yet, or damage
            continue
        inside.setdefault(starts[row], []).append(address)
    pieces: list[Piece] = []
    for start in starts:
        size, small, stream, expandable = held[start]
        if expandable:
            size = max((at + live[at] for at in inside.get(start, [])), default=start) - start
        elif not small and size >= LEAST_OWN:
            pieces.append(Piece(start, size, stream, live=False, passing=True))
        at = start
        for address in inside.get(start, []):
            if address < at:
                lost += 1
                continue
            _hole(pieces, (at, address), (small, stream), after=at > start)
            pieces.append(Piece(address, live[address], stream, live=True))
            at = address + live[address]
        _hole(pieces, (at, start + size), (small, stream), after=at > start)
        if len(pieces) > MOST_PIECES:
            raise HeapwrightError(
                f"the snapshot has more than {MOST_PIECES:,} blocks and holes at its start: it is "
                "damaged, or record a history that begins earlier"
            )
    return Start(pieces, lost)


def _hole(pieces: list[Piece], span: tuple[int, int], kind: tuple[bool, int], after: bool) -> None:
    """Cover [at, end), perhaps `after` a block: of a large segment a little is the block's own."""
    (at, end), (small, stream) = span, kind
    if after and not small and end - at <= SMALL_BYTES:
        pieces[-1] = pieces[-1]._replace(size=pieces[-1].size + end - at)
        return
    step = SMALL_BYTES if small else end - at
    while at < end and len(pieces) <= MOST_PIECES:
        length = min(step, end - at)
        pieces.append(Piece(at, length, stream, live=False))
        at += length
