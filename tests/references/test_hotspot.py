"""HotSpot's twins beside what real JVMs said of small programs; the driver's own parts."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from heapwright.collectors.hotspot.history import KINDS
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.references.hotspot import build, driver, missing, played
from heapwright.references.hotspot.agreement import compare, validate
from heapwright.references.hotspot.options import flags
from heapwright.trace.schema import FREE, HOLD, MALLOC, NEW, POP, PUSH, WRITE, events
from heapwright.trace.store import Trace, TraceWriter
from hotspot_programs import CASES, FOLDER, KEYS, kept, key_of, settings, trace


def test_there_is_a_key_for_each_and_no_other():
    found = {path.name for path in FOLDER.glob("*.npz")}
    assert found == {key_of(*key).name for key in KEYS}


# Step by step the releases that differ
SAME = {("serial-lists", 11)} | {key for key in KEYS if key[1] == 21 or "references" in key[0]}
PLAYED = [key for key in KEYS if not INTERPRETED or key not in SAME]


@cache
def outcome(name, release):
    """The twin beside the key, and the kinds of its collections."""
    case, told = CASES[name], kept(name, release)
    found = compare(case.manager, trace(name), settings(name, release), told)
    return found, {KINDS[kind] for kind in found.kinds_seen}


@pytest.mark.parametrize(("name", "release"), PLAYED)
def test_every_collection_is_the_real_ones(name, release):
    """Event, kind, bytes in old and of survivors, threshold, age table, and the sizes of spaces."""
    told, (found, _) = kept(name, release), outcome(name, release)
    assert found.differs == ""
    for same in (found.moments, found.kinds, found.survivors, found.thresholds):
        assert same.equal == same.compared
    assert found.ages.equal == found.ages.compared
    assert found.agrees and found.whole.compared == len(told.rows) - 1 > 4
    assert told.version.split(".")[0] == str(release)


def test_the_keys_have_collections_of_every_kind():
    seen = set().union(*(outcome(*key)[1] for key in PLAYED if key[0].startswith("serial")))
    assert seen >= {"young", "full", "skipped", "failed"}
    others = [key for key in PLAYED if not key[0].startswith("serial")]
    seen = set().union(*(outcome(*key)[1] for key in others))
    assert seen >= {"young", "full"}


def test_a_difference_is_told_where_it_begins():
    told = kept("serial-lists", 17)
    changed = told.rows.copy()
    changed[3, 1 + told.names.index(driver.OLD)] += 8
    other = driver.Observed(**{**vars(told), "rows": changed})
    found = compare("hotspot-serial", trace("serial-lists"), settings("serial-lists", 17), other)
    assert not found.agrees and found.old.equal == found.old.compared - 1
    assert "event 3" in found.differs and ": old;" in found.differs
    assert found.to_json()["differs"] == found.differs
    assert len(found.rows()) == 9 and found.sentences()[-1] == found.differs


def test_the_options_of_java_stand_for_the_settings():
    knobs = named("hotspot-serial").configured({"Xmn": 1 << 20, "UseTLAB": 0})._asdict()
    told = flags("hotspot-serial", knobs, 25, "gc.log")
    for wanted in ("-XX:+UseSerialGC", "-Xmn1048576", "-XX:-UseTLAB", "-Xint", "-XX:NewRatio=2"):
        assert wanted in told
    assert "--sun-misc-unsafe-memory-access=allow" in told
    assert not any("own_" in each or "version" in each or "TLABSize" in each for each in told)


def test_what_a_jvm_plays_is_births_deaths_and_references():
    batch = events(
        op=[PUSH, NEW, NEW, WRITE, HOLD, POP, FREE],
        slot=[-1, 0, 1, 0, 1, -1, 0],
        size=[0, 24, 40, 0, 0, 0, 0],
        field=[0, 2, 0, 1, 0, 0, 0],
        target=[-1, -1, -1, 1, -1, -1, -1],
    )
    assert played.played(batch).tolist() == [
        [2, 0, 24, 2],
        [2, 1, 40, 0],
        [1, 0, 1, 1],
        [0, 0, 0, -1],
    ]
    batch = batch._replace(size=np.full(7, 1 << 31))
    with pytest.raises(HeapwrightError, match="fewer than 2\\^31 bytes"):
        played.played(batch)


def test_what_was_promoted_before_the_first_event_is_read_from_the_log():
    space = "GC(0)    the space 4K,  3% used [0x1000, 0x{:x}, 0x9000)\n"
    log = "GC(0) Pause Young (Allocation Failure)\n" + space.format(0x1100) + space.format(0x1180)
    log += "GC(1) Pause Full (System.gc())\n" + space.format(0x1180) + space.format(0x1140)
    log += "GC(2) Pause Young (Allocation Failure)\n" + space.format(0x1180) + space.format(0x1190)
    assert driver.promotions(log, 2, 17) == [0x80]
    assert driver.promotions(log, 2, 25) == [0x80, 0]
    assert driver.promotions(log, 3, 17) == [0x80, 0x10]


def test_mistakes_are_one_sentence(tmp_path, monkeypatch):
    told = trace("serial-lists")
    with pytest.raises(HeapwrightError, match="own_bytes is what the real JVM says of itself"):
        validate("hotspot-serial", told, {"own_bytes": 8})
    with pytest.raises(
        HeapwrightError, match="Xmn is 4,194,304 bytes of a heap, Xmx, of 4,194,304"
    ):
        compare("hotspot-serial", told, {"Xmx": 4 << 20, "Xmn": 4 << 20}, kept("serial-lists", 17))
    path = tmp_path / "calls.heap.parquet"
    with TraceWriter(path, program="calls") as out:
        out.write(events(op=[MALLOC], slot=[0], size=[10]))
    with pytest.raises(HeapwrightError, match="knows no references between objects"):
        driver.observe("hotspot-serial", Trace.open(path), {}, 17)
    monkeypatch.setattr(build, "jvms", lambda: (build.Jvm(Path("java"), 17, "17.0.15"),))
    with pytest.raises(HeapwrightError, match=r"MANAGER\.version=17, or install .*openjdk-21-jdk"):
        build.jvm(21)  # what is told to be installed is what is missing
    monkeypatch.setattr(build, "jvms", lambda: ())
    with pytest.raises(HeapwrightError, match="no JDK of 11, 17, 21, 25 is here; install one: apt"):
        build.jvm(17)
    assert missing("hotspot-serial").startswith("no JDK of")


@pytest.mark.skipif(bool(build.missing(17)), reason="no JDK 17 here")
def test_the_real_one_says_today_what_the_key_has():
    name = "serial-lists"
    knobs = named("hotspot-serial").configured(settings(name, 17))._asdict()
    told = driver.observe("hotspot-serial", trace(name), knobs, 17)
    found = compare("hotspot-serial", trace(name), settings(name, 17), told)
    assert found.agrees and found.whole.compared >= 5
