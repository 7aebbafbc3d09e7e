"""A recorded graph of a Python, made up: pairs that only the cycle collector can free."""

from heapwright.trace.mutator import Mutator
from heapwright.trace.schema import RAN
from heapwright.trace.store import Trace, TraceWriter


def recorded_pairs(path, *, pairs, between):
    """A recorder's trace: `pairs` of objects that refer to each other are out of reach from a look
    on, `between` more are born, then a collection takes the pairs. Two more die by their count."""
    with TraceWriter(path, program="python", kind="recording") as writer:
        writer.sites = ["pair", "other"]
        writer.facts.origin["python"] = "3.11.7"
        with Mutator(writer.write) as m:
            with m.frame():
                made = [(m.new(100, fields=1, site=0), m.new(50, fields=1, site=0))
                        for _ in range(pairs)]  # fmt: skip
                for one, other in made:
                    m.write(one, 0, other)
                    m.write(other, 0, one)
                    m.root(one)
                    m.root(other)
            with m.frame():
                kept = [m.new(10, site=1) for _ in range(between)]
                for one in kept[2:]:
                    m.root(one)
            for one, other in made:
                m.unroot(one)
                m.unroot(other)
            m.steer(RAN)
    return Trace.open(path)
