"""pymalloc against what real versions answered, and by hand."""

import re

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine, mmap
from heapwright.machine.address_space import MAPPED_BYTES
from heapwright.managers import named
from heapwright.managers.runtime.pymalloc.address_map import is_ours, mark
from heapwright.references.cpython.agreement import NOWHERE, Agreement, Arenas, Follower
from heapwright.references.cpython.stats import said_by, stats_of
from heapwright.trace.schema import events
from heapwright.tunnel.replay import replay as replayed
from heapwright.versions import version_number
from pymalloc_programs import FOLDER, slots_of
from small_traces import churn, write
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

KEYS = sorted(path.stem for path in FOLDER.glob("pymalloc-*.npz"))
APART = 33  # log2 of the bytes between the arenas of a key, more than any has


RECORDED = {"3.14", "3.15"}  # held to recordings of theirs alone: docs/pymalloc.md


def test_there_are_keys_of_every_version_of_the_card():
    versions = {key.split("-")[1] for key in KEYS}
    assert versions | RECORDED == set(named("pymalloc").card.versions)
    assert len(KEYS) == 3 * len(versions)


@pytest.mark.parametrize("key", KEYS)
def test_every_address_is_the_real_ones(key):
    """And every arena that is made or given back, and every figure of sys._debugmallocstats()."""
    with np.load(FOLDER / f"{key}.npz") as kept:
        key_ = {name: kept[name] for name in kept.files}
    batch = events(op=key_["op"], slot=key_["slot"], size=key_["size"])
    trial = Trial("pymalloc", {"version": version_number(key.split("-")[1])}, slots_of(batch))
    bytes_ = int(trial.heap.arena_bytes)
    event, number, begin, made = key_["arenas"].T
    bases = ((number + 1) << APART) + begin
    changes = np.stack([event, bases, np.where(made == 1, bytes_, -bytes_)], axis=1)
    base_of = np.zeros(int(number.max()) + 1, np.int64)
    base_of[number] = bases
    within = key_["arena"] >= 0
    addresses = np.where(key_["op"] == FREE, 0, 1)  # 1: outside arenas
    addresses[within] = base_of[key_["arena"][within]] + key_["offset"][within]
    both = Follower(trial, trial.ledger, Arenas(bytes_), Arenas(bytes_))
    found = Agreement(len(batch.op), ("", ""))
    for start in range(0, len(batch.op), 2000):  # arenas are made in the middle of a batch
        rows = slice(start, start + 2000)
        part = events(op=batch.op[rows], slot=batch.slot[rows], size=batch.size[rows])
        mine = changes[(event >= start) & (event < start + 2000)]
        found.enter(*both.follow(part, addresses[rows], mine, start), start)
        assert not trial.broken()
    assert found.first_difference is None and both.lost == 0, found.first_difference
    assert found.addresses.compared > 2000 and found.passed.compared > 10
    assert both.ours.made == both.real.made == int(made.sum())
    real = said_by(str(key_["told"]))
    assert len(real) >= 12 and real.items() <= stats_of(trial.heap).items()


def test_a_difference_is_seen():
    ours = np.array([5, NOWHERE, 7])
    found = Agreement(3, ("3.11", "3.11"))
    found.enter(ours, np.array([5, NOWHERE, 8]), 10)
    assert not found.agrees and found.first_difference["event"] == 12
    assert (found.addresses.compared, found.addresses.equal) == (2, 1)


def test_the_first_pool_is_aligned_where_the_arena_is_not():
    trial = Trial("pymalloc over machine", {"version": version_number("3.11")})
    mmap(trial.machine, 0, 4096 * 2)  # below it and the table the next area begins
    first = trial.step(MALLOC, 0, 16)[0]
    base = int(trial.heap.arenas.base[1])
    assert base % (1 << 14) and first == -(-base // (1 << 14)) * (1 << 14) + 48
    assert int(trial.heap.arenas.pools[1]) == 63
    trial.verify()


@pytest.mark.parametrize("into", [0, 4096, 16384, (1 << 20) - 4096])
def test_the_tree_knows_an_arena_to_the_byte(into):
    """Wherever in a MiB it begins; and not once it is gone, beside one that stays."""
    heap = Trial("pymalloc over machine").heap
    base, mib = (5 << 30) + into, 1 << 20
    edges = [base - 1, base, base + mib - 1, base + mib]
    assert mark(heap, 0, base, 1)
    assert [is_ours(heap, address) for address in edges] == [False, True, True, False]
    assert mark(heap, 0, base + mib, 1) and mark(heap, 0, base, 0)
    assert [is_ours(heap, address) for address in edges] == [False, False, False, True]


def test_realloc_stays_unless_a_quarter_is_saved():
    trial = Trial("pymalloc")
    block = trial.step(MALLOC, 0, 512)[0]
    assert trial.step(REALLOC, 0, 385)[0] == block
    assert trial.step(REALLOC, 0, 384)[0] != block, "384 of 512 are three quarters"
    large = trial.step(MALLOC, 1, 4000)
    assert trial.step(REALLOC, 1, 40)[0] == large[0], "what is malloc's stays malloc's"
    assert trial.step(REALLOC, 0, 600)[1] >= 600
    trial.verify()


def test_what_is_not_small_goes_on_to_the_ground():
    trial = Trial("pymalloc")
    for slot, (op, size, align) in enumerate(
        [(MALLOC, 0, 0), (MALLOC, 513, 0), (CALLOC, 5000, 0), (MEMALIGN, 64, 6)]
    ):
        trial.step(op, slot, size, align)
    trial.step(MEMALIGN, 9, 64, 4)
    paths = dict(zip(trial.module.PATHS, trial.heap.paths.tolist(), strict=True))
    assert (paths["passed"], paths["small"]) == (4, 1)
    trial.verify()
    for slot in list(trial.live):
        trial.step(FREE, slot)
    assert trial.decompose()["live"] == 0


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_a_wholly_free_arena_goes_back_unless_it_is_the_last(version):
    trial = Trial("pymalloc over machine", {"version": version_number(version)}, 1 << 13)
    many = 900 if version == "3.9" else 4000
    if INTERPRETED and version == "3.13":
        pytest.skip("enough of the other one")
    batch = events(op=[MALLOC] * many, slot=range(many), size=[512] * many)
    trial.replay(batch)
    assert int(trial.heap.mapped) == 3
    before = int(trial.machine.meters[MAPPED_BYTES])
    trial.replay(events(op=[FREE] * many, slot=range(many), size=[0] * many))
    assert int(trial.heap.mapped) == 1
    assert before - int(trial.machine.meters[MAPPED_BYTES]) == 2 * int(trial.heap.arena_bytes)
    trial.verify()


def test_storeys_are_told_apart_and_sum_to_resident_memory(tmp_path):
    """Arenas are live to glibc, which knows nothing of them, as are the tables, its blocks."""
    trace = write(tmp_path / "t.heap.parquet", churn(400 if INTERPRETED else 4000))
    result = replayed("pymalloc", trace, samples=5)
    parts, ground = result.storeys["pymalloc"], result.storeys["glibc"]
    assert sum(parts.values()) == ground["taken"] > 0
    assert sum(ground.values()) == result.peak["resident_bytes"]
    assert parts["live"] == result.peak["live_bytes"]
    assert parts["header"] > 48 * 20 and ground["header"] > 0
    assert any("requests" in note and "went on to malloc" in note for note in result.notes)


def test_the_tables_memory_is_mallocs_and_resident():
    trial = Trial("pymalloc")
    trial.step(MALLOC, 0, 16)
    table, middle, bottom, pool = trial.rows("metadata")[:4]
    assert (table[1], middle[1], bottom[1], pool[1]) == (16 * 48, 1 << 18, 1 << 17, 48)
    resident = trial.decompose()["header"]
    assert 768 + 2 * 4096 + 48 <= resident < 5 * 4096, "a page of each node was written"


def test_a_version_that_is_not_known_is_refused():
    manager = named("pymalloc over machine")
    with pytest.raises(HeapwrightError, match=re.escape("3.9 or later, not 3.8")):
        manager.module.boot(machine(), manager.configured({"version": version_number("3.8")}))
