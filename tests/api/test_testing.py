"""The plugin of pytest: limits fail with the lines that hold the bytes; others run as they did."""

import json
import platform
import sys

import pytest

from heapwright.cache import cache_home
from heapwright.compiler import INTERPRETED

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or platform.machine() != "x86_64",
        reason="a process is recorded by itself on x86-64 Linux only",
    ),
    pytest.mark.skipif(INTERPRETED, reason="the recorder is C"),
]
CACHE = cache_home()
TESTS = """
import pytest

kept = [None, None]

def grow(count):
    return [str(number) * 3 for number in range(count)]

@pytest.mark.heapwright(limit_resident="1 MiB")
def test_big():
    assert len(grow(30_000)) == 30_000

@pytest.mark.heapwright(limit_leak="0 B")
def test_leak():
    kept[0] = bytearray(100_000)
    grow(100)

@pytest.mark.heapwright(limit_leak="0 B", limit_resident="24 MiB", manager="glibc")
def test_clean():
    assert grow(1000)

@pytest.mark.heapwright(limit_resident="1 MiB")
def test_wrong_for_another_reason():
    grow(30_000)
    assert 1 == 2

@pytest.mark.heapwright(limit_rss="1 MiB")
def test_misspelt():
    pass

@pytest.mark.heapwright(limit_leak="much")
def test_no_size():
    pass

@pytest.mark.heapwright(limit_leak=-1)
def test_less_than_nothing():
    pass

@pytest.mark.heapwright(limit_leak="1 MiB", manager="frob")
def test_no_manager():
    pass

def test_unmarked():
    kept[1] = bytearray(1 << 20)
"""


@pytest.fixture(autouse=True)
def _the_cache_stays(monkeypatch, pytester):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(CACHE))  # pytester has a home of its own


def test_limits_hold_and_failures_name_lines(pytester):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--heapwright-json=told.json", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=7)
    result.stdout.fnmatch_lines(
        [
            "The test holds * MiB resident at its peak under pymalloc over glibc: its "
            "limit_resident is 1.00 MiB.",
            " *MiB  grow*test_limits_hold_and_failures_name_lines.py:6)",
            "The test holds 97.7 KiB that it asked for and that are not freed: its limit_leak is "
            "0 B.",
            "*97.7 KiB  test_leak (*.py:14)",
            "E*assert 1 == 2",
            "The marker heapwright takes no limit_rss: give limit_resident, limit_leak, manager.",
            "The marker heapwright has a limit_leak that is no size: *much*",
            "*limit_leak that is no size: -1 is less than nothing.",
            "*no manager is named *frob*",
        ]
    )
    told = json.loads((pytester.path / "told.json").read_text())
    by_name = {one["test"].rpartition("::")[2]: one for one in told["tests"]}
    assert by_name["test_leak"]["leak_bytes"] == sys.getsizeof(bytearray(100_000))
    assert by_name["test_clean"]["leak_bytes"] == 0
    assert by_name["test_unmarked"]["leak_bytes"] == sys.getsizeof(bytearray(1 << 20))
    assert by_name["test_big"]["peak_lines"][0][0].endswith(".py:6)")
    assert by_name["test_big"]["resident_bytes"] >= by_name["test_big"]["live_bytes"] > 1 << 20


def test_the_summary_names_those_that_hold_most_also_of_other_workers(pytester):
    pytester.makepyfile(
        test_one="def test_one():\n    assert bytearray(3 << 20)\n",
        test_two="def test_two():\n    assert bytearray(1 << 20)\n",
    )
    result = pytester.runpytest_subprocess("--heapwright", "-n2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*= heapwright =*",
            "  resident       live       leak  test",
            "*3.0? MiB*        0 B  test_one.py::test_one",
            "*1.0? MiB*        0 B  test_two.py::test_two",
            "2 tests; resident: *under pymalloc over glibc; leak: *",
        ]
    )


def test_without_a_marker_or_an_option_nothing_is_imported(pytester):
    pytester.makepyfile(
        "import sys\n\ndef test_it():\n    assert 'numpy' not in sys.modules\n"
        "    assert 'heapwright.api.recording' not in sys.modules\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1)
    assert "heapwright" not in "\n".join(result.stdout.lines[6:])


def test_a_limit_on_what_is_not_recorded_is_no_pass(pytester):
    pytester.makepyfile(
        "import pytest, unittest\n\nclass Old(unittest.TestCase):\n"
        "    @pytest.mark.heapwright(limit_leak=0)\n    def test_limited(self):\n        pass\n\n"
        "    def test_plain(self):\n        pass\n"
    )
    result = pytester.runpytest_subprocess("--heapwright", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["The marker heapwright is in vain: *", "1 test not recorded: *not unittest.TestCase's*"]
    )
