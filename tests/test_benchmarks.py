"""Every benchmark can be imported: what it takes from the house is still there."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(f"benchmarks.{found.stem}" for found in (ROOT / "benchmarks").glob("*.py"))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("module", MODULES)
def test_it_imports(module):
    importlib.import_module(module)


def test_twins_of_real_mallocs_are_compared_with_them():
    assert "glibc" in importlib.import_module("benchmarks.agreement").twins()


def test_what_python_programs_held_is_beside_what_was_predicted():
    module = importlib.import_module("benchmarks.python_memory")
    mib = 1 << 20

    def figure(manager, near, ends):
        measured = {"peak": [50 * mib], "end": [40 * mib, 39 * mib, 51 * mib]}
        predicted = {"peak": [51 * mib], "end": [each * mib for each in ends]}
        return module.Figure("parser", "", manager, near, [1.0], predicted, measured)

    good = figure("pymalloc over glibc", 0.05, [39])
    bad = figure("jemalloc", 0.1, [45, 50, 51])  # beyond, even at the least
    falls = figure("jemalloc", 0.1, [41, 50, 51])
    assert [one.holds for one in (good, bad, falls)] == [True, False, True]
    assert [one.middle_holds for one in (good, bad, falls)] == [True, False, False]
    text = module.page([good, bad, falls])
    assert "**1 of 1** processes; the medians alone, of 1." in text
    assert "**1 of 2** processes; the medians alone, of 0." in text
    assert "50.0 MiB / 40.0 MiB (−20 %), 45.0 MiB to 51.0 MiB / 39.0 MiB to 51.0 MiB" in text


def test_a_guests_archive_holds_its_files_by_name(tmp_path):
    """The newc form of cpio: a header of 110 characters, names and contents at multiples of 4."""
    program = tmp_path / "program"
    program.write_bytes(b"12345")
    found, at = {}, 0
    boot = importlib.import_module("benchmarks.linux_boot")
    made = boot.archive({"bin": None, "bin/program": program})
    while True:
        fields = [int(made[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        assert made[at : at + 6] == b"070701" and at % 4 == 0
        name = made[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = (fields[1], made[start : start + fields[6]])
        at = (start + fields[6] + 3) // 4 * 4
    assert found == {"bin": (0o40755, b""), "bin/program": (0o100755, b"12345")}
