"""A service in Python, as its collector sees it: dictionaries, tuples, and cycles of instances.

    sessions ─► dict ─► session ◄──► context of a request ─► tuple ─► context      cycles
                          └► dict of strings, tuple of strings: followed for a while, then not
    closed   connections with a finaliser that brings each back once; a few with one of the old sort

At each step a request makes its objects and drops them, most of them without a cycle, and now and
then a session of the cache gives way to a new one. After a warm-up the program calls gc.collect and
gc.freeze, later gc.collect of each generation once in a while; for a time it switches gc off.

Kinds of objects are told, and sizes are those of 3.11 with all that Python puts before an object.

Omits      weak references; threads
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice
from heapwright.trace.schema import (
    ATOM,
    COLLECT,
    CONTAINER,
    DICT,
    DISABLE,
    ENABLE,
    FREEZE,
    LEGACY,
    REVIVES,
    TUPLE,
    UNFREEZE,
)

SUMMARY = "a Python service: dictionaries, tuples, finalisers, and cycles among them"
SITES = ("sessions", "session", "context", "text", "dict", "tuple", "connection", "old connection")
SESSIONS, SESSION, CONTEXT, TEXT, DICTIONARY, PAIR, CONNECTION, OLD = range(len(SITES))
HEADS_BYTES, TUPLE_BYTES, DICT_BYTES, TEXT_BYTES = 32, 40, 80, 49
ENTRY_BYTES = 8


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    sessions: int = 500  # in the cache
    cycle_percent: int = 30  # of requests that leave a cycle
    collect_every: int = 4000  # requests; 0: the program never calls gc.collect
    old_per_million: int = 2000  # requests whose connection has a finaliser of the old sort


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "sessions": (1, 1 << 20),
    "cycle_percent": (0, 100),
    "collect_every": (0, 1 << 30),
    "old_per_million": (0, 1_000_000),
}


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    dice, count = Dice(parameters.seed), parameters.sessions
    table = m.root(m.new(DICT_BYTES + ENTRY_BYTES * count, count, SESSIONS, DICT))
    sessions = [_session(m, dice, table, place) for place in range(count)]
    m.steer(COLLECT + 2)
    m.steer(FREEZE)
    requests = 0
    while m.objects < parameters.objects:
        requests += 1
        place = dice.below(count)
        with m.frame():
            if dice.below(40) == 0:
                sessions[place] = _session(m, dice, table, place)
            _request(m, dice, sessions[place], parameters)
        if parameters.collect_every and requests % parameters.collect_every == 0:
            _steer(m, requests // parameters.collect_every)


def _steer(m: Mutator, turn: int) -> None:
    """What the program asks of its collector, in turns."""
    asked = ([COLLECT], [DISABLE], [ENABLE], [COLLECT + 1], [UNFREEZE, COLLECT + 2], [FREEZE])
    for operand in asked[turn % len(asked)]:
        m.steer(operand)


def _dict(m: Mutator, fields: int) -> int:
    return m.new(DICT_BYTES + ENTRY_BYTES * fields, fields, DICTIONARY, DICT)


def _tuple(m: Mutator, *members: int) -> int:
    made = m.new(TUPLE_BYTES + ENTRY_BYTES * len(members), len(members), PAIR, TUPLE)
    for place, member in enumerate(members):
        m.write(made, place, member)
    return made


def _text(m: Mutator, dice: Dice) -> int:
    return m.new(TEXT_BYTES + dice.size(1, 200), 0, TEXT, ATOM)


def _instance(m: Mutator, fields: int, site: int, more: int = 0) -> int:
    return m.new(HEADS_BYTES + ENTRY_BYTES * fields, fields, site, CONTAINER + more)


def _session(m: Mutator, dice: Dice, table: int, place: int) -> int:
    """A new session in a place of the cache: its data are not followed for long."""
    with m.frame():
        session = _instance(m, 4, SESSION)
        data = _dict(m, 4)
        m.write(session, 0, data)
        m.write(data, 0, _text(m, dice))
        m.write(data, 1, _tuple(m, _text(m, dice), _tuple(m, _text(m, dice))))
        m.write(session, 1, _tuple(m, _text(m, dice), data))
        m.write(table, place, session)
    return session


def _request(m: Mutator, dice: Dice, session: int, parameters: Parameters) -> None:
    """One request: a context, its values, and what stays of it."""
    context = _instance(m, 4, CONTEXT)
    values = _dict(m, 3)
    m.write(context, 0, session)
    m.write(context, 1, values)
    for field in range(dice.below(3)):
        m.write(values, field, _text(m, dice))
    m.write(context, 2, _tuple(m, values, _text(m, dice)))
    if dice.below(1_000_000) < parameters.old_per_million:
        old = _instance(m, 1, OLD, LEGACY)
        m.write(old, 0, _ring(m, old))
    if dice.below(100) < parameters.cycle_percent:
        choice = dice.below(4)
        if choice == 0:  # a tuple that leads back
            m.write(context, 3, _tuple(m, context, values))
        elif choice == 1:  # a dictionary that does
            m.write(values, 2, context)
        elif choice == 2:  # a connection that comes back once, and all that it knows
            m.write(_instance(m, 2, CONNECTION, REVIVES), 1, values)
            connection = m.objects - 1
            m.write(connection, 0, connection)
            m.write(values, 0, context)
        else:  # the session knows its newest context, and the context the session
            m.write(session, 2, context)
    if dice.below(16) == 0:
        m.write(session, 3, _tuple(m, _text(m, dice), _text(m, dice)))


def _ring(m: Mutator, of: int) -> int:
    """A context that refers to an object which refers to it."""
    other = _instance(m, 1, CONTEXT)
    m.write(other, 0, of)
    return other
