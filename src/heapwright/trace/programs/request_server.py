"""A server of requests: most objects die with their request, sessions live for one or thousands.

    sessions ─► session ◄═► user          request ─► headers, rows, response: dead when answered
                   │ ╲─► attributes              ╲─► a record in the log, of the session
                   ╰───► history, a list that grows

A session is over after a number of requests drawn log-uniformly from 1 to `longest_session`: its
place in the table is given to another. The log is a ring, so a session may outlive its end by as
many requests as the log has records. Attributes, log records and cached pages make old objects
refer to new ones.

Omits      threads; think time
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice

SUMMARY = "a server: garbage of requests beside sessions of mixed lifetimes, a log and a page cache"
SITES = (
    *("table", "session", "user", "attribute", "history", "log record", "page"),
    *("request", "header", "rows", "row", "cell", "buffer"),
)
USER, HISTORY, ATTRIBUTES = 0, 1, 2  # fields of a session, from ATTRIBUTES on one each
ATTRIBUTE_FIELDS = 6
LOG_RECORDS, PAGES = 1_024, 256
WORD = 8  # bytes of a reference


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    sessions: int = 500
    longest_session: int = 5_000  # requests
    rows: int = 30  # most that a query finds


LIMITS = {
    "objects": (1 << 12, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "sessions": (1, 1 << 24),
    "longest_session": (1, 1 << 30),
    "rows": (1, 1 << 16),
}


class Session:
    """What the program knows of a session; `obj` is the object."""

    def __init__(self, obj: int, requests: int) -> None:
        self.obj, self.left = obj, requests
        self.newest = -1  # node of its history


class Server(NamedTuple):
    """The global tables."""

    sessions: int
    log: int
    pages: int


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    dice, size = Dice(parameters.seed), parameters.sessions
    tables = (m.root(m.new(WORD * n, n, 0)) for n in (size, LOG_RECORDS, PAGES))
    server = Server(*tables)
    places: list[Session | None] = [None] * size
    requests = 0
    while m.objects < parameters.objects:
        place = dice.below(size)
        session = places[place]
        with m.frame():
            if session is None or session.left == 0:
                obj = _log_in(m, dice, server, place)
                session = places[place] = Session(obj, dice.size(1, parameters.longest_session))
            session.left -= 1
            _answer(m, dice, server, session, 1 + dice.below(parameters.rows))
            record = m.new(48, 1, 5)
            m.write(record, 0, session.obj)
            m.write(server.log, requests % LOG_RECORDS, record)
        requests += 1


def _log_in(m: Mutator, dice: Dice, server: Server, place: int) -> int:
    """A session takes its place, and whichever was there has ended."""
    m.push()
    session = m.new(WORD * (ATTRIBUTES + ATTRIBUTE_FIELDS) + 32, ATTRIBUTES + ATTRIBUTE_FIELDS, 1)
    user = m.new(40 + dice.size(8, 64), 1, 2)
    m.write(session, USER, user)
    m.write(user, 0, session)
    m.write(server.sessions, place, session)
    return m.pop(session)


def _answer(m: Mutator, dice: Dice, server: Server, session: Session, rows: int) -> None:
    """One request, from its bytes to those of the response."""
    request = _parse(m, dice)
    m.write(request, 1, _query(m, dice, rows))
    response = _render(m, dice.size(1 << 10, 1 << 15))
    choice = dice.below(100)
    if choice < 30:
        attribute = m.new(dice.size(16, 1 << 11), 0, 3)
        m.write(session.obj, ATTRIBUTES + dice.below(ATTRIBUTE_FIELDS), attribute)
    elif choice < 32:
        page = m.new(2 * WORD, 1, 6)
        m.write(page, 0, response)
        m.write(server.pages, dice.below(PAGES), page)
    elif choice < 60:
        visit = m.new(32, 2, 4)
        m.write(visit, 1, m.new(dice.size(16, 128), 0, 4))
        m.write(visit, 0, session.newest)
        m.write(session.obj, HISTORY, visit)
        session.newest = visit


def _parse(m: Mutator, dice: Dice) -> int:
    """A request with its headers, a list."""
    m.push()
    request = m.new(80, 2, 7)
    last, field = request, 0
    for _ in range(6 + dice.below(6)):
        header = m.new(32, 2, 8)
        m.write(header, 1, m.new(dice.size(8, 256), 0, 8))
        m.write(last, field, header)
        last, field = header, 0
    return m.pop(request)


def _query(m: Mutator, dice: Dice, count: int) -> int:
    """A vector of rows of four cells."""
    m.push()
    rows = m.new(WORD * count, count, 9)
    for i in range(count):
        m.push()
        row = m.new(4 * WORD, 4, 10)
        m.write(rows, i, row)
        for cell in range(4):
            m.write(row, cell, m.new(dice.size(8, 64), 0, 11))
        m.pop()
    return m.pop(rows)


def _render(m: Mutator, size: int) -> int:
    """A buffer that doubles until it holds `size` bytes."""
    m.push()
    room = 256
    buffer = m.new(room, 0, 12)
    while room < size:
        room *= 2
        buffer = m.new(room, 0, 12)
    return m.pop(buffer)
