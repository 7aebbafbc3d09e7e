"""Programs with a garbage collector: reproducible, sound, and their deaths those of an oracle."""

import hashlib
import random

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace import programs
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs import bitmap_cache, red_black_map
from heapwright.trace.schema import COLUMNS, FREE, NEW
from heapwright.trace.store import Trace
from naive.reachability import Reachability
from trace_objects import objects_of

# Small sizes, for which reachability can be found after every event.
TINY = {
    "binary-trees": {"objects": 2_500},
    "gcbench": {"objects": 4_096, "depth": 6},
    "linked-lists": {"objects": 1_500, "lists": 4, "nodes": 6},
    "bitmap-cache": {"objects": 1_500, "images": 200, "files": 30, "memory_bytes": 4 << 20},
    "request-server": {"objects": 4_096, "sessions": 3, "longest_session": 20, "rows": 4},
    "compiler": {"objects": 2_000, "names": 50, "least_tokens": 10, "most_tokens": 200},
    "red-black-map": {"objects": 1_500, "entries": 40},
    "python-service": {"objects": 1_500, "sessions": 9, "collect_every": 20},
    "soft-cache": {"objects": 1_500, "tiles": 40, "shown": 5, "names": 30},
}
# The events of these, as digests: they change only with the program's definition.
GOLDEN = {
    "binary-trees": "154c2a5a062bb7a6",
    "gcbench": "0e7382cab3365683",
    "linked-lists": "e56c72b35acfb08c",
    "bitmap-cache": "92a4cab34250402a",
    "request-server": "d66a55c1c3a507c2",
    "compiler": "90e5d1b57b057a72",
    "red-black-map": "b851840c1b8be42b",
    "python-service": "c00be5b49a94a68f",
    "soft-cache": "ec0b6a12871db869",
}


def test_a_dropped_bitmap_is_recycled_where_the_cache_says_so():
    parameters = TINY["bitmap-cache"] | {"memory_bytes": 1 << 20}
    kept, recycled = (told("bitmap-cache", **parameters, entry_removed=n)[0] for n in (0, 1))
    more = sum(map(len, whole(recycled)[:1])) - sum(map(len, whole(kept)[:1]))
    with Mutator(lambda batch: None) as mutator:
        filled = programs.parameters("bitmap-cache", parameters)
        tally = bitmap_cache.play(mutator, filled)
    assert more == 2 * tally.dropped > 100, "the bitmap is held, and its reference cut"
    assert tally.asked > tally.from_memory > 0 and tally.from_disk > 0
    wait = tally.from_disk * 8_000 + tally.downloaded * 150_000
    assert tally.waited_us(filled) == wait


def told(name, **chosen):
    """The batches of a program and its Parameters."""
    filled = programs.parameters(name, chosen)
    batches = []
    with Mutator(batches.append) as mutator:
        programs.program(name).run(mutator, filled)
    return batches, filled


def whole(batches):
    return [np.concatenate([batch[i] for batch in batches]) for i in range(len(COLUMNS))]


def digest(columns):
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()[:16]


@pytest.mark.parametrize("name", programs.GRAPH_PROGRAMS)
def test_deaths_are_those_of_naive_reachability(name):
    batches, filled = told(name, **TINY[name])
    oracle = Reachability()
    programs.program(name).run(oracle, filled)
    calls, deaths = objects_of(batches)
    assert calls == oracle.calls
    assert deaths == [sorted(died) for died in oracle.deaths]
    assert digest(whole(batches)) == GOLDEN[name]


@pytest.mark.parametrize("name", programs.GRAPH_PROGRAMS)
def test_about_as_many_objects_are_made_as_asked_for(name, tmp_path):
    heard = []
    path = tmp_path / "t.parquet"
    programs.synthesise(name, path, {"objects": 20_000}, heard.append)
    trace = Trace.open(path)
    assert trace.graph and trace.allocations == sum(heard)
    assert 8_000 < trace.allocations < 20_100
    assert sum(len(batch.field) for batch in trace.batches(("op", "field"))) == trace.events
    sites = np.concatenate([batch.site for batch in trace.batches(("op", "site"))])
    assert set(sites.tolist()) == {-1, *range(len(trace.sites()))}


@pytest.mark.parametrize("name", programs.GRAPH_PROGRAMS)
def test_another_seed_gives_other_events(name):
    if "seed" not in programs.program(name).Parameters._fields:
        with pytest.raises(HeapwrightError, match="no parameter 'seed'"):
            programs.parameters(name, {"seed": 2})
        return
    first, second = (digest(whole(told(name, **TINY[name], seed=seed)[0])) for seed in (1, 2))
    assert first != second


def test_most_garbage_of_linked_lists_is_in_cycles():
    """An object that dies while another refers to it, both at once."""
    batches, _ = told("linked-lists", **TINY["linked-lists"])
    op = whole(batches)[0]
    deaths = np.flatnonzero(op == FREE)
    together = np.isin(deaths - 1, deaths) | np.isin(deaths + 1, deaths)
    assert together.mean() > 0.5
    assert (op == NEW).sum() > len(deaths) > 0


def test_the_map_is_a_red_black_tree_after_every_step():
    draw = random.Random(3)
    m = Reachability()
    tree = red_black_map.Tree(m)
    for _ in range(600):
        key = draw.randrange(60)
        with m.frame():
            if key in tree.nodes:
                tree.remove(key)
            else:
                tree.insert(key, m.new(8))
        keys = []
        black_height(tree.root, None, m, keys)
        assert keys == sorted(tree.nodes) and not (tree.root and tree.root.red)


def black_height(node, up, m, keys):
    """Black nodes on every way down from `node`; its keys in order; each reference is as told."""
    if node is None:
        return 1
    assert node.up is up and not (node.red and up and up.red)
    objects = [kid.obj if kid else -1 for kid in (*node.kids, up)]
    assert m.fields[node.obj] == [*objects, node.value]
    left = black_height(node.kids[0], node, m, keys)
    keys.append(node.key)
    assert black_height(node.kids[1], node, m, keys) == left
    return left + (not node.red)


@pytest.mark.parametrize(
    ("name", "chosen", "sentence"),
    [
        ("gcbench", {"depth": 3}, "depth is 3"),
        ("gcbench", {"objects": 1}, "objects is 1"),
        ("compiler", {"least_tokens": 9, "most_tokens": 8}, "least_tokens is larger"),
        ("binary-trees", {"events": 9}, "no parameter 'events'; it has: objects"),
    ],
)
def test_a_mistake_is_a_sentence_and_no_file(name, chosen, sentence, tmp_path):
    with pytest.raises(HeapwrightError, match=sentence):
        programs.synthesise(name, tmp_path / "t.parquet", chosen)
    assert not list(tmp_path.iterdir())
