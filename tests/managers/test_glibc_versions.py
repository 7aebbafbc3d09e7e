"""The glibc twin in each version against what the real one of that version answered."""

import numpy as np
import pytest

from glibc_versions import CASES, PROGRAM, key_of, named, of_version
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import (
    BREAK,
    CEILING,
    FAULTS,
    FIRST_BREAK,
    MAPPED_BYTES,
    PEAK_MAPPED_BYTES,
    PEAK_RESIDENT_PAGES,
)
from heapwright.managers import managers
from heapwright.managers import named as manager
from heapwright.quantities import parse_knob
from heapwright.references.malloc.places import Blocks, equal
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from malloc_programs import FOLDER, batch
from trial import Trial

CARD = managers()["glibc"].card


def test_there_is_a_key_for_each_case_and_no_other():
    assert {path.stem for path in FOLDER.glob("glibc-*.npz")} == {named(*case) for case in CASES}
    driven = {version for version, _ in CASES}
    assert driven == set(CARD.versions) - set(CARD.unproven)


@pytest.mark.parametrize("case", CASES, ids=[named(*case) for case in CASES])
def test_every_address_is_the_real_ones(case):
    """And every usable size, the page faults, and what was resident and mapped at most."""
    with np.load(key_of(*case)) as kept:
        key = {column: kept[column] for column in kept.files}
    start, late = int(key["start"]), case[0] == "2.43"
    address = key["address"]
    real = Blocks(np.where(address != 0, address + start, 0), key["usable"], start, late)
    trial = Trial("glibc", of_version(*case))
    placed = trial.replay(batch(PROGRAM))
    meters = trial.machine.meters
    twin = Blocks(placed[:, 0], placed[:, 1], int(meters[FIRST_BREAK]), late)
    assert np.flatnonzero((real.address != 0) != (twin.address != 0)).tolist() == []
    assert np.flatnonzero((real.address != 0) & ~equal(twin, real)).tolist() == []
    assert (placed[:, 1] == key["usable"]).all() and (real.address != 0).sum() > 1200
    assert meters[FAULTS] == key["faults"]
    assert meters[PEAK_RESIDENT_PAGES] * 4096 == key["resident"]
    assert meters[PEAK_MAPPED_BYTES] == key["mapped"]
    trial.verify()


def twin(version, settings=None):
    return Trial("glibc", of_version(version, settings or {}))


@pytest.mark.parametrize("version", CARD.versions)
def test_every_version_keeps_its_invariants(version):
    """Also those that were not driven; half as many events as plain Python."""
    columns = batch(PROGRAM)
    trial = twin(version)
    trial.replay(type(columns)(*(column[: 500 if INTERPRETED else 2600] for column in columns)))
    trial.verify()


def test_calloc_takes_from_the_cache_from_2_41_on():
    for version, cached in (("2.39", False), ("2.41", True), ("2.43", True)):
        trial = twin(version)
        block = trial.step(MALLOC, 0, 100)[0]
        trial.step(FREE, 0)
        assert (trial.step(CALLOC, 0, 100)[0] == block) == cached
        trial.verify()


def test_memalign_looks_into_the_cache_from_2_38_on():
    for version, cached in (("2.36", False), ("2.39", True), ("2.43", True)):
        trial = twin(version)
        block = trial.step(MEMALIGN, 0, 100, align=8)[0]
        trial.step(MALLOC, 1, 100)
        trial.step(FREE, 0)
        trial.step(FREE, 1)  # on top, and not aligned
        assert (trial.step(MEMALIGN, 0, 100, align=8)[0] == block) == cached
        trial.verify()
        trial.decompose()


def test_the_cache_of_2_43_is_made_by_the_first_small_free():
    trial = twin("2.43")
    first = trial.step(MALLOC, 0, 24)[0]
    second = trial.step(MALLOC, 1, 24)[0]
    assert (first, second - first) == (int(trial.machine.meters[FIRST_BREAK]) + 16, 32)
    assert trial.rows("metadata") == []
    trial.step(FREE, 0)
    assert trial.rows("metadata") == [[second + 24, 768]]
    assert trial.step(MALLOC, 0, 24)[0] == first


def test_sixteen_blocks_are_cached_by_2_43():
    for version, kept in (("2.41", 7), ("2.43", 16)):
        trial = twin(version)
        for slot in range(20):
            trial.step(MALLOC, slot, 500)
        for slot in range(0, 20, 2):  # apart, so that none merges
            trial.step(FREE, slot)
        assert len(trial.rows("cached")) == min(kept, 10)


def test_a_realloc_within_16_bytes_makes_no_cache_from_2_38_on():
    for version, caches in (("2.36", 2), ("2.39", 1)):
        trial = twin(version)
        trial.step(MALLOC, 0, 100)
        trial.step(REALLOC, 0, 101, thread=1)
        assert len(trial.rows("metadata")) >= caches
        assert (len(trial.rows("metadata")) == 1) == (caches == 1)


def test_where_the_break_is_refused_1_MiB_is_mapped_but_from_2_35_to_2_37():
    for version in CARD.versions:
        trial = twin(version, {"mmap_max": 0, "top_pad": 0})
        meters = trial.machine.meters
        meters[CEILING] = meters[BREAK]
        trial.step(MALLOC, 0, 1000)
        assert meters[MAPPED_BYTES] == 1 << 20
        trial.step(MALLOC, 1, 1_000_000)
        trial.step(MALLOC, 2, 100_000)  # 25 pages
        more = 102_400 if version in ("2.35", "2.36") else 1 << 20
        assert meters[MAPPED_BYTES] == (1 << 20) + more
        trial.verify()


def test_a_ground_has_a_version_too():
    over = manager("pymalloc over glibc")
    asked = {"ground_version": parse_knob("ground_version", "2.43")}
    assert over.configured(asked)[1].tcache_count == 16
    with pytest.raises(HeapwrightError, match=r"glibc has no version 2\.33 here; it has: 2\.31,"):
        over.configured({"ground_version": parse_knob("ground_version", "2.33")})


def test_what_a_version_does_not_know_is_said():
    told = manager("glibc").ignored(of_version("2.43", {"mxfast": 80, "tcache_max": 1 << 22}))
    assert told[0] == "mxfast=80 changes nothing: 2.43 has no fastbins."
    assert "it takes 0 to 4,194,280" in told[1]
