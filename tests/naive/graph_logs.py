"""Logs of a graph recorder made of random rows, and what their conversion tells."""

from heapwright.trace.merlin import OP_BITS, WORDS
from heapwright.trace.recorder import graph_books as books
from naive.graph_teller import Rows


class Kept(Rows):
    """A mutator that is told many rows at once."""

    def take(self, rows, births):
        self.extend(tuple(row) for row in rows.reshape(-1, WORDS).tolist())
        self.objects += births


def log_of(rows):
    """Rows of a log: numbers are those of births in it."""
    births = sum(op == books.NEW for op, *_ in rows)
    log = []
    for op, field, first, second in rows:
        if op in (books.LOOK, books.SEEN):
            log.append((op, first, 0))
        elif op == books.NEW:
            log.append((op | field << OP_BITS, first, field))
        elif op in (books.BEGUN, books.COUNTED):
            begun = op == books.BEGUN
            log.append((op, first % 3 + field % 2 * (16 if begun else 3), abs(second)))
            log += [(books.OVER, first, abs(second))] if op == books.BEGUN else []
        elif op == books.TRACKED and births:
            log.append((op, first % births, field))
        elif births:
            other = second % births if op == books.WRITE and second >= 0 else second
            log.append((op | (field << OP_BITS if op == books.WRITE else 0), first % births, other))
    return log


def texts(op, numbers):
    """Rows that name each number by itself."""
    return [(op, n, int.from_bytes(f"{op}:{n}".encode(), "little")) for n in numbers]


def sites_of(log, known, tree):
    """The node of each birth: its type below the line that asked for it, as far as named."""
    mask = (1 << OP_BITS) - 1
    places = [second for op, _, second in log if op & mask == books.NEW]
    stacks = [
        [f"{books.PLACE}:{place}"] * (place > 0) + [f"{books.NAME}:{kind}"] * (0 < kind <= 30)
        for place, kind in zip(places, (known.types[n] for n in range(len(places))), strict=True)
    ]
    return [tree.node(stack) for stack in stacks]
