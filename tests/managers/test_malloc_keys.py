"""The twins of real mallocs against what those answered to three small programs."""

import numpy as np
import pytest

from heapwright.machine.address_space import (
    BREAK_LIMIT,
    FAULTS,
    FIRST_BREAK,
    PEAK_MAPPED_BYTES,
    PEAK_RESIDENT_PAGES,
)
from heapwright.managers import managers
from heapwright.versions import version_number
from malloc_programs import (
    FOLDER,
    OF_VERSIONS,
    PROGRAMS,
    VERSIONS,
    batch,
    clocked,
    key_of,
    twins,
)
from trial import Trial

CASES = [(name, program, "") for name in twins() for program in PROGRAMS]
CASES += [(name, OF_VERSIONS, version) for name, each in VERSIONS.items() for version in each]


def test_there_is_a_key_for_each_and_no_other():
    others = (  # have programs of their own
        *("pymalloc", "nginx-slab", "cuda-caching", "glibc-", "java-"),
        *("art-", "dlmalloc-", "dalvik-"),
    )
    kept = {path.stem for path in FOLDER.glob("*.npz") if not path.stem.startswith(others)}
    assert kept == {key_of(*case).stem for case in CASES}


@pytest.mark.parametrize(("name", "program", "version"), CASES)
def test_every_address_is_the_real_ones(name, program, version):
    """And every usable size, the page faults, what was resident and mapped at most, and what the
    library says of itself."""
    with np.load(key_of(name, program, version)) as kept:
        key = {column: kept[column] for column in kept.files}
    trial = Trial(name, {"version": version_number(version)} if version else None)
    if hasattr(trial.module, "seed"):
        trial.module.seed(trial.heap, key["seeds"])
    placed = trial.replay(batch(program, clocked=clocked(name)))
    addresses, meters = placed[:, 0], trial.machine.meters
    if hasattr(trial.module, "seed"):
        offsets = np.where(addresses != 0, addresses - BREAK_LIMIT, -1)
    elif hasattr(trial.module, "offsets"):
        offsets = trial.module.offsets(trial.heap, addresses)
    else:
        start = getattr(trial.module, "ZONE_START", meters[FIRST_BREAK])
        offsets = np.where(addresses != 0, addresses - start, -1)
    assert np.flatnonzero(offsets != key["offset"]).tolist() == []
    assert (placed[:, 1] == key["usable"]).all() and (offsets >= 0).sum() > 2000
    assert meters[FAULTS] == key["faults"]
    # one that gives back by the clock may do so within a request, after it has touched a page: the
    # real one was looked at between two
    within = meters[PEAK_RESIDENT_PAGES] - key["resident"] // 4096
    assert 0 <= within <= clocked(name)
    assert meters[PEAK_MAPPED_BYTES] == key["mapped"]
    if len(key["told"]):
        assert list(trial.module.statistics(trial.heap).values()) == key["told"].tolist()
    assert str(key["version"]) in managers()[name].card.versions
    trial.verify()
