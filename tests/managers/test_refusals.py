"""A manager that counts what it refuses counts each request once."""

import pytest

from trial import FREE, MALLOC, Trial

COUNTING = ("art-rosalloc", "bootmem", "dlmalloc", "memblock", "nginx-slab", "vmalloc")


@pytest.mark.parametrize("name", COUNTING)
def test_what_is_refused_is_counted_once(name):
    trial = Trial(name)
    assert trial.step(MALLOC, 0, 100)[0]
    for times in (1, 2):
        assert trial.step(MALLOC, times, 1 << 46) == (0, 0)
        assert trial.heap.paths[trial.module.PATHS.index("refused")] == times
        trial.verify()
    trial.step(FREE, 0)
    trial.verify()
