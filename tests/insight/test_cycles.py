"""What waited for the cycle collector: by whom it was made, how long, and how much at once."""

from heapwright.insight.cycles import cycles
from heapwright.trace.mutator import Mutator
from heapwright.trace.schema import RAN
from heapwright.trace.store import Trace, TraceWriter
from pairs_of_python import recorded_pairs


def test_who_waited_and_how_long(tmp_path):
    trace = recorded_pairs(tmp_path / "t", pairs=3, between=7)
    found = cycles(trace, [trace.events - 20])
    (one,) = found.sites
    assert (one.label, one.objects, one.bytes) == ("pair", 6, 450)
    assert (one.waited_births, one.longest_births) == (7, 7)
    assert (found.collections, found.births, found.by_count) == (1, 13, 2)
    assert found.most_bytes == 450
    assert found.at[trace.events - 20].tolist() == [0, 450, 0]
    assert "6 blocks" in found.sentence and "pair" in found.sentence


def test_what_a_look_still_reached_is_not_known_to_have_waited(tmp_path):
    """Only the first of the two is held by a root since a look."""
    writer = TraceWriter(tmp_path / "t", program="python", kind="recording")
    with writer, Mutator(writer.write) as m:
        with m.frame():
            one, other = m.new(100, fields=1), m.new(30, fields=1)
            m.write(one, 0, other)
            m.root(one)
        m.unroot(one)
        m.steer(RAN)
    found = cycles(Trace.open(tmp_path / "t"))
    assert (found.objects, found.bytes, found.most_bytes) == (2, 130, 100)


def test_a_program_without_cycles(tmp_path):
    writer = TraceWriter(tmp_path / "t", program="python", kind="recording")
    with writer, Mutator(writer.write) as m:
        with m.frame():
            m.new(100)
            m.root(m.new(5))
        m.unroot(1)
        m.root(m.new(1))
        m.steer(RAN)
    found = cycles(Trace.open(tmp_path / "t"))
    assert (found.objects, found.by_count, found.sites) == (0, 2, [])
    assert "found nothing" in found.sentence
