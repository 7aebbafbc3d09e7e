"""The mutator: deaths are those that reachability after every event finds."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.trace.mutator import Mutator
from naive.reachability import Reachability
from trace_objects import objects_of


class Both:
    """Tells a mutator and the oracle the same."""

    def __init__(self, chunk_events):
        self.batches, self.oracle = [], Reachability()
        self.mutator = Mutator(self.batches.append, chunk_events=chunk_events)

    def __getattr__(self, name):
        def tell(*arguments):
            getattr(self.oracle, name)(*arguments)
            return getattr(self.mutator, name)(*arguments)

        return tell


STEP = st.tuples(st.sampled_from("nnwwwwhrupo"), st.integers(0, 1 << 30), st.integers(0, 1 << 30))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=120), chunk=st.sampled_from([1, 2, 3, 7, 1000]))
def test_deaths_are_those_of_naive_reachability(steps, chunk):
    both = Both(chunk)
    play(both, steps)
    if both.oracle.calls:
        calls, deaths = objects_of(both.batches)
        assert calls == both.oracle.calls
        assert deaths == [sorted(died) for died in both.oracle.deaths]


@pytest.mark.parametrize("seed", range(3))
def test_deaths_over_many_chunks(seed, effort):
    """Survivors of many chunks, whose slots are taken again and again."""
    draw = random.Random(seed)
    both = Both(chunk_events=50)
    kinds = "nnnnwwwwwwwwhrupoo"
    play(
        both,
        [
            (draw.choice(kinds), draw.randrange(1 << 30), draw.randrange(1 << 30))
            for _ in range(200 * effort)
        ],
    )
    calls, deaths = objects_of(both.batches)
    assert calls == both.oracle.calls
    assert deaths == [sorted(died) for died in both.oracle.deaths]
    assert sum(map(len, deaths)) > 0.2 * both.oracle.objects


def play(both, steps):
    """Tell both what the steps come to; each is a kind and two numbers that choose objects."""
    oracle = both.oracle
    for kind, first, second in steps:
        alive = sorted(oracle.alive)
        one = alive[first % len(alive)] if alive else -1
        other = [-1, *alive][second % (len(alive) + 1)]
        if kind == "n" or not alive:
            both.new(64, second % 4)
        elif kind == "w" and oracle.fields[one]:
            both.write(one, second % len(oracle.fields[one]), other)
        elif kind == "h":
            both.hold(one)
        elif kind == "r" and one not in oracle.globals:
            both.root(one)
        elif kind == "u" and oracle.globals:
            both.unroot(sorted(oracle.globals)[first % len(oracle.globals)])
        elif kind == "p":
            both.push()
        elif kind == "o" and len(oracle.frames) > 1:
            both.pop(other)
    both.mutator.flush()


def mistaken(*calls, chunk_events=100):
    """What the mutator says of these calls, each a name and arguments."""
    mutator = Mutator(lambda events: None, chunk_events=chunk_events)
    with pytest.raises(HeapwrightError) as caught, mutator as m:
        for name, *arguments in calls:
            getattr(m, name)(*arguments)
    return str(caught.value)


NEW, PUSH, POP = ("new", 32, 2), ("push",), ("pop",)


@pytest.mark.parametrize("chunk_events", [1, 100])
@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        ([("hold", 0)], "call 0, hold(0), has an object that nothing refers to"),
        ([NEW, ("write", 0, 0, 1)], "call 1, write(0, 0, 1), has an object that nothing refers"),
        ([NEW, ("root", -5)], "call 1, root(-5), has an object"),
        ([PUSH, NEW, POP, ("hold", 0)], "call 3, hold(0), has an object that nothing refers to"),
        ([PUSH, NEW, POP, ("root", 0)], "call 3, root(0), has an object that nothing refers to"),
        ([PUSH, NEW, NEW, ("write", 0, 0, 0), POP, ("write", 0, 1, -1)], "call 5, write(0, 1, -1)"),
        ([NEW, ("write", 0, 2, -1)], "call 1, write(0, 2, -1), has a field out of range"),
        ([NEW, ("write", 0, -1, 0)], "call 1, write(0, -1, 0), has a field out of range"),
        ([("new", 15, 2)], "call 0, new(15, 2), has fields that do not fit the object's size"),
        ([("new", 8, -1)], "call 0, new(8, -1), has fields that do not fit"),
        ([POP], "call 0, pop(-1), has a pop of the lowest frame"),
        ([NEW, ("root", 0), ("root", 0)], "call 2, root(0), has a second global root"),
        ([NEW, ("unroot", 0)], "call 1, unroot(0), has an unroot of an object that is no"),
    ],
)
def test_a_mistake_of_the_program_is_a_sentence(calls, sentence, chunk_events):
    assert sentence in mistaken(*calls, chunk_events=chunk_events)


def test_more_fields_than_can_be_followed():
    assert "make it smaller" in mistaken(("new", 1 << 40, 1 << 35))


def test_memory_follows_the_living(effort):
    """The arrays hold what is alive and a chunk, however many objects there ever were."""
    lengths = set()
    with Mutator(lambda events: None, chunk_events=1_000) as m:
        for _ in range(20):
            with m.frame():
                for _ in range(10 * effort):
                    m.new(64, 4)
            m.flush()
            lengths.add(sum(len(column) for column in m._state))
    assert len(lengths) <= 2  # of the first chunk, and of the others
