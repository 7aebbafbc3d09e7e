"""glibc in other versions: unpacked packages are found and driven, and a recording keeps its own.

This machine's own glibc, copied into a folder, stands in for a package of another version; those
that HEAPWRIGHT_GLIBC names while the suite runs are driven too.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glibc_versions import CASES, named, of_version
from heapwright.errors import HeapwrightError
from heapwright.managers import managers
from heapwright.references.malloc import libc, measured, systems
from heapwright.references.malloc.agreement import validate
from heapwright.references.malloc.harness import Drive
from heapwright.references.malloc.measured import footprint, measured_lanes
from heapwright.trace.recorder.session import record
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.conditions import Conditions
from heapwright.tunnel.replay import Replay
from heapwright.versions import version_number
from malloc_programs import batch, trace

UNPACKED = libc.unpacked()
OWN = libc.here()


@pytest.fixture(scope="module")
def package(tmp_path_factory: Any) -> Path:
    """A folder like an unpacked libc6 with this machine's loader and libraries."""
    maps = Path("/proc/self/maps").read_text()
    found = re.search(r"(/\S+)/libc\.so\.6$", maps, re.MULTILINE)
    if not found or not (Path(found[1]) / libc.LOADER).exists():
        pytest.skip("this machine's libc.so.6 and its loader do not lie in one folder")
    folder = tmp_path_factory.mktemp("libc6")
    into = folder / "usr/lib/x86_64-linux-gnu"
    into.mkdir(parents=True)
    for name in (libc.LOADER, "libc.so.6", *libc.BEFORE_2_34):
        if (Path(found[1]) / name).exists():
            shutil.copy(Path(found[1]) / name, into / name)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: Any) -> Trace:
    return trace("versions", tmp_path_factory.mktemp("traces"))


def on(libc_version: str, path: Path) -> Trace:
    """The program as a recording of a machine with that glibc would tell it."""
    with TraceWriter(path, program="versions", kind="recording") as out:
        out.write(batch("versions"))
        out.facts = replace(out.facts, origin={"libc": libc_version})
    return Trace.open(path)


def test_an_unpacked_package_is_found_and_asked(package: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(libc.VARIABLE, str(package))
    assert list(libc.unpacked()) == [OWN]
    monkeypatch.setenv(libc.VARIABLE, str(package.parent))  # a folder of packages
    assert libc.unpacked()[OWN].name == "x86_64-linux-gnu"
    assert libc.libraries(OWN) is None  # this machine's own needs none
    with pytest.raises(HeapwrightError, match=rf"so 2\.30 cannot be driven.*names {OWN}"):
        libc.libraries("2.30")
    monkeypatch.setenv(libc.VARIABLE, str(package / "no"))
    with pytest.raises(HeapwrightError, match="which is no folder"):
        libc.unpacked()


def test_the_harness_runs_on_the_libraries_of_the_package(
    package: Path, program: Trace, monkeypatch: Any
) -> None:
    """With this machine's version taken for another, every file comes from the folder."""
    monkeypatch.setenv(libc.VARIABLE, str(package))
    asked = {"version": version_number(OWN)}
    with Drive("glibc", program, placed=True, tick_ns=0) as drive:
        usual = drive.replay(batch("versions"))[:, 1]
    monkeypatch.setattr(libc, "here", lambda: "2.0")
    with Drive("glibc", program, placed=True, tick_ns=0, tunables=asked) as drive:
        maps = Path(f"/proc/{drive.pid}/maps").read_text()
        assert (drive.replay(batch("versions"))[:, 1] == usual).all()
    objects = set(re.findall(r"(/\S+\.so[.\d]*)$", maps, re.MULTILINE))
    assert objects and all(str(package) in each for each in objects)


def test_a_recordings_version_is_the_twins(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(libc.VARIABLE, raising=False)
    for ran_on, twin in (("2.36", "2.36"), ("2.43", "2.43"), ("2.37", "2.39"), ("2.60", "2.43")):
        told = on(ran_on, tmp_path / f"{ran_on}.parquet")
        found = Replay("glibc", told, {}, Conditions.of(told))
        same = ran_on == twin != "2.36"  # a version that stands for another was not recorded
        expected = {"version": version_number(twin)} if same else {}
        assert found.recorded == expected and found.version == version_number(twin)
        notes = "\n".join(found.notes())
        assert ("not driven" in notes) == (twin == "2.39")
        assert (f"The program ran on glibc {ran_on}" in notes) == (ran_on != twin)
        assert ("As recorded: version=" in notes) == same
        assert (f"This machine's glibc is {OWN}; the program" in notes) == (ran_on != OWN)
    over = Replay("pymalloc over glibc", told, {}, Conditions.of(told))
    assert over.recorded["ground_version"] == version_number("2.43")
    asked = {"ground_version": version_number("2.39")}
    over = Replay("pymalloc over glibc", told, asked, Conditions.of(told))
    assert "glibc 2.39 follows the public history" in "\n".join(over.notes())


def test_another_version_than_this_machines_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(libc.VARIABLE, raising=False)
    other = next(v for v in ("2.41", "2.43") if v != OWN)
    told = on(other, tmp_path / "t.parquet")
    found = validate("glibc", told)
    said = " ".join(found.sentences())
    assert found.versions == (other, OWN)
    assert f"version {other} and the real system here is {OWN}" in said and libc.MEND in said
    assert found.to_json()["versions"] == {"twin": other, "real": OWN}
    conditions = Conditions.of(told)
    said = " ".join(footprint("glibc", told, {}, conditions).notes)
    assert f"The program ran on glibc {other}; the real one that was driven is {OWN}." in said
    with pytest.raises(HeapwrightError, match=f"so {other} cannot be driven"):
        measured_lanes(
            told.path, ["glibc"], conditions, {"glibc": {"version": version_number(other)}}
        )


def test_a_version_that_is_no_older_is_timed_in_the_loop_of_the_twins(
    package: Path, program: Trace, monkeypatch: Any
) -> None:
    """On its own loader; an older one cannot run this machine's programs."""
    monkeypatch.setenv(libc.VARIABLE, str(package))
    for here, timed in (("2.0", True), ("9.9", False)):
        monkeypatch.setattr(libc, "here", lambda here=here: here)
        found = measured.measured("glibc", program, settings={"version": version_number(OWN)})
        assert (measured.OWN_SECONDS in found.notes) != timed and found.seconds > 0


@pytest.mark.skipif(not UNPACKED, reason=f"{libc.VARIABLE} names no package of glibc")
@pytest.mark.parametrize("case", CASES, ids=[named(*case) for case in CASES])
def test_the_twin_agrees_with_the_unpacked_one(case: Any, program: Trace) -> None:
    version, settings = case
    if version not in (OWN, *UNPACKED):
        pytest.skip(f"glibc {version} is not here")
    found = validate("glibc", program, of_version(version, settings))
    assert found.agrees and found.versions == (version, version)
    assert found.resident[0] == found.resident[1] and found.page_faults[0] == found.page_faults[1]


@pytest.mark.parametrize("version", sorted(UNPACKED) or [""])
def test_a_program_recorded_on_another_version_lies_where_the_twin_says(
    version: str, tmp_path: Path
) -> None:
    """Perl, run by that version's own loader; its large strings are mapped."""
    perl = shutil.which("perl")
    if not (version and perl and libc.serves_here(version)) or version == OWN:
        pytest.skip(f"{libc.VARIABLE} names no newer glibc, or there is no perl")
    code = 'push @a, "x" x ($_ * 9000) for 1..60; shift @a for 1..20; $h{$_} = [$_] for 1..3000'
    command = [*libc.loader(UNPACKED[version]), perl, "-e", code]
    record(command, tmp_path / "t.parquet")
    told = Trace.open(tmp_path / "t.parquet")
    found = validate("glibc", told)
    assert told.libc == version and found.key == "recorded" and found.agrees
    assert found.versions == (version, version) and found.addresses.compared > 5000
    assert found.outside.compared > 30


def test_what_was_not_driven_has_no_key() -> None:
    card = managers()["glibc"].card
    assert set(card.unproven) < set(card.versions)
    assert not set(card.unproven) & {version for version, _ in CASES}
    assert systems.reachable("glibc", 0) and systems.reachable("jemalloc", 5_003_000)
    assert np.all([systems.reachable("glibc", version_number(v)) for v in (OWN, *UNPACKED)])
