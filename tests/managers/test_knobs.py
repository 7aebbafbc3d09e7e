"""Every knob of every manager has a unit and a sentence, from the comment beside it."""

import pytest

from heapwright.managers.knobs import NAMED_SO, knobs
from heapwright.managers.registry import managers, named


@pytest.mark.parametrize("name", list(managers()))
def test_every_knob_is_explained(name):
    found = knobs(named(name))
    assert list(found) == list(named(name).module.Config._fields)
    for knob, told in found.items():
        assert told.unit and told.sentence, knob
        assert told.sentence != NAMED_SO, f"{name}.{knob} has no comment beside it"


def test_units_and_sentences_are_those_of_the_source():
    glibc = knobs(named("glibc"))
    assert glibc["trim_threshold"].unit == "bytes"
    assert "given back" in glibc["trim_threshold"].sentence
    assert glibc["arena_max"].unit == "arenas"
    assert knobs(named("go"))["gogc"].unit == "%"
    assert knobs(named("mark-compact"))["keep_pages"].unit == "choice"
    assert knobs(named("generational"))["growth_percent"].unit == "%"


def test_a_version_that_was_not_driven_is_marked_where_versions_are_listed():
    said = knobs(named("glibc"))["version"].sentence
    assert "2.31; 2.34, not driven; 2.35, not driven; 2.36; " in said
    assert knobs(named("mallocng"))["version"].sentence == "which version of the real system it is"


def test_a_manager_over_another_has_the_knobs_of_both():
    found = knobs(named("pymalloc"))
    assert found["trim_threshold"] == knobs(named("glibc"))["trim_threshold"]
    assert found["ground_version"].unit == "version"
