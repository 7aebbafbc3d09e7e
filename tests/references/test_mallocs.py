"""The twins of real mallocs beside the libraries that are installed here, each knob turned."""

import pytest

from heapwright.managers import managers
from heapwright.references.malloc import systems
from heapwright.references.malloc.agreement import validate
from malloc_programs import trace, twins

TURNED = {
    "tcmalloc": [
        {},
        {"aggressive_decommit": 1},
        {"max_total_thread_cache_bytes": 1 << 20},
        {"release_rate": 0},
        {"transfer_num_obj": 4},
    ],
    "mimalloc": [{}, {"decommit_delay": 0}, {"max_segment_reclaim": 100}],
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


def test_every_knob_that_can_be_set_is_turned():
    for name in twins():
        turned = {knob for knobs in TURNED[name] for knob in knobs}
        deploy = managers()[name].card.deploy
        assert turned == set(deploy.knobs())
