"""nginx's slabs against what nginx's own code answered, and by hand."""

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.machine.address_space import RESIDENT_PAGES
from heapwright.managers import named
from heapwright.managers.malloc.nginx_slab.layout import (
    COUNTER_BYTES,
    ENTRY_BYTES,
    HEADER_BYTES,
    SLOTS,
)
from heapwright.references import reference
from heapwright.references.nginx import build
from heapwright.references.nginx.agreement import Agreement, validate
from malloc_programs import FOLDER, batch, trace
from nginx_programs import ZONES
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

PAGE = 4096

ENTRIES = HEADER_BYTES + SLOTS * (ENTRY_BYTES + COUNTER_BYTES)  # where they begin


def trial_of(zone_bytes=1 << 20):
    return Trial("nginx-slab", {"zone_bytes": zone_bytes})


@pytest.mark.parametrize("name", ZONES)
def test_every_offset_refusal_and_counter_is_nginxs(name):
    with np.load(FOLDER / f"nginx-slab-{name}.npz") as kept:
        key = {column: kept[column] for column in kept.files}
    trial = trial_of(ZONES[name])
    addresses = trial.replay(batch(name))[:, 0]
    offsets = np.where(addresses != 0, addresses - int(trial.heap.start), -1)
    assert np.flatnonzero(offsets != key["offset"]).tolist() == []
    assert int(trial.run.progress[trial.loop.REFUSED]) == key["refused"] > 100
    told = list(trial.module.statistics(trial.heap).values())
    assert told == [key["free_pages"], *key["counters"].tolist()]
    assert trial.machine.meters[RESIDENT_PAGES] == key["resident"]
    assert str(key["version"]).startswith(named("nginx-slab").card.versions[0])
    assert f"{trial.heap.paths[trial.module.PATHS.index('refused')]:,}" in "".join(
        trial.module.notes(trial.heap)
    )
    trial.verify()


def test_bits_of_small_objects_lie_in_their_page():
    trial = trial_of()
    first = [trial.step(MALLOC, slot, size)[0] for slot, size in enumerate((1, 16, 32, 64, 128))]
    assert [address % PAGE for address in first] == [8 * 8, 2 * 16, 32, 0, 0]
    assert trial.step(MALLOC, 9, 2049)[1] == PAGE, "over half a page: whole pages"


def test_a_freed_run_is_taken_again_first_and_the_rest_keeps_its_place():
    trial = trial_of()
    runs = [trial.step(MALLOC, slot, 3 * PAGE)[0] for slot in range(4)]
    trial.step(FREE, 1)
    assert trial.step(MALLOC, 5, 2 * PAGE)[0] == runs[1]
    assert trial.step(MALLOC, 6, PAGE)[0] == runs[1] + 2 * PAGE
    for slot in (0, 5, 6, 2, 3):
        trial.step(FREE, slot)
        trial.verify()
    told = trial.module.statistics(trial.heap)
    assert told["pfree"] == int(trial.heap.total_pages)


def test_a_full_zone_refuses_and_goes_on():
    trial = trial_of(32 << 10)
    assert trial.step(MALLOC, 0, 1 << 20) == (0, 0)
    assert trial.step(MALLOC, 1, 4 * PAGE)[0]
    assert trial.step(REALLOC, 1, 5 * PAGE)[1] == 4 * PAGE, "the old block stays"
    assert trial.step(MEMALIGN, 2, 8, align=13) == (0, 0), "nothing lies beyond a page's multiple"
    assert trial.step(MALLOC, 3, 8)[0]
    trial.verify()


def test_a_zone_that_nginx_refuses_is_a_sentence():
    for size in (PAGE, 1 << 40):
        with pytest.raises(HeapwrightError, match="zone_bytes is 32,768 to"):
            trial_of(size)


def test_the_source_is_looked_for_where_it_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.delenv(build.VARIABLE, raising=False)
    assert "apt source nginx" in reference("heapwright.references.nginx").missing("nginx-slab")
    monkeypatch.setenv(build.VARIABLE, str(tmp_path))
    assert str(tmp_path) in build.missing() and build.version() == "unknown"
    with pytest.raises(HeapwrightError, match=r"has no src/core/ngx_slab\.c"):
        build.driver()


def test_a_difference_is_told():
    found = Agreement(3, ("1.22", "1.25.0"))
    found.enter(np.array([-1, 64, 128]), np.array([-1, 64, 4096]), first=7)
    assert not found.agrees and found.offsets.compared == 2
    said = " ".join(found.sentences())
    assert "event 9: 128 (twin) and 4,096 (real)" in said and "1.25.0" in said
    assert found.to_json()["offsets"] == {"compared": 2, "equal": 1}


def test_the_twin_agrees_with_the_source_that_is_here(tmp_path):
    if build.missing():
        pytest.skip(build.missing())
    for zone_bytes in (1 << 20, 1 << 26):
        found = validate(trace("threads", tmp_path), {"zone_bytes": zone_bytes})
        assert found.agrees, found.sentences()
        assert found.counters.compared == 37 and found.resident[0] == found.resident[1]
        assert found.header_bytes == 200 and len(found.rows()) == 4


def test_a_zone_is_opened_at_the_first_request():
    module = named("nginx-slab").module
    heap = module.boot(machine(), module.Config())
    assert module.statistics(heap)["pfree"] == 0 and module.check(heap) == 0


def test_pages_begin_where_the_entries_end_where_that_is_a_page():
    """Of a zone with so many pages; of one less they begin at the next page."""
    pages = next(n for n in range(100, 700) if (ENTRIES + n * ENTRY_BYTES) % 4096 == 0)
    for less in (0, 1):
        trial = trial_of(ENTRIES + (pages - less) * (4096 + ENTRY_BYTES))
        assert trial.step(MALLOC, 0, 100)[0]
        assert trial.heap.entries - trial.heap.pool == ENTRIES
        assert trial.heap.start - trial.heap.pool == ENTRIES + pages * ENTRY_BYTES
        trial.verify()
