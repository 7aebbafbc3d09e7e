"""The twins of real mallocs beside the libraries that are installed here, each knob turned."""

import pytest

from heapwright.managers import managers
from heapwright.references.malloc import musl, systems
from heapwright.references.malloc.agreement import validate
from malloc_programs import trace, twins

TURNED = {
    "jemalloc": [
        {},
        {"dirty_decay_ms": 1, "muzzy_decay_ms": 2},
        {"dirty_decay_ms": 0, "lg_tcache_max": 12},
        {"narenas": 2, "tcache": 0},
        {"oversize_threshold": 0, "cores": 3},
    ],
    "tcmalloc": [
        {},
        {"aggressive_decommit": 1},
        {"max_total_thread_cache_bytes": 1 << 20},
        {"release_rate": 0},
        {"transfer_num_obj": 4},
    ],
    "mimalloc": [
        {},
        {"decommit_delay": 0},
        {"decommit_delay": 1},
        {"max_segment_reclaim": 100},
    ],
    "mimalloc3": [
        {},
        {"purge_delay": 0, "page_full_retain": 0},
        {"purge_delay": 2, "page_max_candidates": 1, "page_reclaim_on_free": 1},
    ],
    "mallocng": [{}],
}


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    return trace("threads", tmp_path_factory.mktemp("traces"))


def cases():
    return [
        pytest.param(name, knobs, id=name + "".join(f"-{k}={v}" for k, v in knobs.items()))
        for name in twins()
        for knobs in TURNED[name]
    ]


@pytest.mark.parametrize(("name", "knobs"), cases())
def test_the_twin_agrees_with_the_library_that_is_here(name, knobs, threads):
    if missing := systems.presence(name).missing:
        pytest.skip(missing)
    if systems.version(name) not in managers()[name].card.versions:
        pytest.skip(f"{name} {systems.version(name)} is here, which is another version")
    found = validate(name, threads, knobs)
    assert found.agrees, found.sentences()
    assert found.key == "driven" and found.addresses.compared > 2500
    assert found.resident[0] == found.resident[1] and found.page_faults[0] == found.page_faults[1]
    assert found.mapped[0] == found.mapped[1]


def test_every_knob_is_turned():
    """But for the version, of which `test_malloc_keys.py` has each."""
    for name in twins():
        turned = {knob for knobs in TURNED[name] for knob in knobs} | {"version"}
        assert turned == set(managers()[name].module.Config._fields)


def test_musls_archive_is_looked_for_where_it_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.setenv("HEAPWRIGHT_MUSL", str(tmp_path))
    assert f"HEAPWRIGHT_MUSL names {tmp_path}" in systems.presence("mallocng").missing
    monkeypatch.delenv("HEAPWRIGHT_MUSL")
    monkeypatch.setattr(musl, "_root", lambda: tmp_path)
    assert "apt install musl-dev" in systems.presence("mallocng").missing
    musl.archive().parent.mkdir(parents=True)
    musl.archive().write_bytes(b"version.lo\0no\0" + b"1.2.9\0")
    assert systems.version("mallocng") == "1.2.9" and not systems.presence("mallocng").missing
