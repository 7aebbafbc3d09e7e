"""The mutator: deaths are those that reachability after every event finds."""

from hypothesis import given, settings
from hypothesis import strategies as st

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
    if not oracle.calls:
        return
    calls, deaths = objects_of(both.batches)
    assert calls == oracle.calls
    assert deaths == [sorted(died) for died in oracle.deaths]
