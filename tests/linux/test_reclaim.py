"""Reclaim's twin against what a real kernel counted of its memory groups."""

from pathlib import Path

import numpy as np
import pytest

from heapwright.linux import lru
from heapwright.linux.reclaim import access, access_mixed, group
from heapwright.linux.recorded import reclaim
from heapwright.linux.shrink import COUNTS

KEY = Path(__file__).parent / "keys" / "debian-reclaim.txt"
JOBS = list(reclaim.read(KEY.read_text()))


@pytest.mark.parametrize(("job", "real"), JOBS, ids=[job.words for job, _ in JOBS])
def test_the_counters_are_the_kernels(job, real):
    """Within 5 %, most of them within 1 %; whether the program is killed, exactly."""
    mine = reclaim.counted(job)
    large = ("pgscan", "pgsteal", "pgmajfault", "workingset_refault_file")
    assert reclaim.furthest(real, mine, large) < 0.05
    assert mine["oom_kill"] == real["oom_kill"]
    if job.anon_mib and not job.file_mib:  # faults tell when it was killed, too
        assert 0 <= real["pgfault"] - mine["pgfault"] < 150


def test_a_sequence_is_counted_to_the_page():
    """The job of the brief for all others: three rounds through twice the limit."""
    job, real = JOBS[0]
    mine = reclaim.counted(job)
    assert (job.anon_mib, job.limit_mib, job.random) == (40, 20, False)
    assert (mine["pgscan"], mine["pgsteal"]) == (real["pgscan"], real["pgsteal"]) == (56122, 25674)


def test_what_is_let_go_is_charged_no_longer():
    memory = group(1000, 300, 100)
    assert access_mixed(memory, np.arange(350, dtype=np.int64), 0) == 350
    known = lru.named(memory)
    assert known["swapped"] >= 50 and memory.counts[COUNTS.index("swapped_out")] >= 50
    for page in range(1000):
        lru.forget(memory, page)
    known = lru.named(memory)
    assert known["charged"] - known["stock"] == known["tables"] == 1  # the table of the 350
    assert known["swapped"] == 0 and memory.size.sum() == 0 and lru.check(memory) == 0


def test_without_swap_it_is_killed_at_the_limit():
    memory = group(1000, 300)
    done = [access(memory, page) for page in range(301)]
    assert done.index(False) == 299  # one page of the 300 is the page table's
    assert not access(memory, 999) and access(memory, 5)
