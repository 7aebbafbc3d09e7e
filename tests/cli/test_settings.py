"""Knobs, sizes and counts as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heapwright.cli.settings import parse_bytes, parse_count, parse_parameters, parse_settings
from heapwright.errors import HeapwrightError


@pytest.mark.parametrize(
    ("text", "size", "count"),
    [
        ("0", 0, 0),
        ("4096", 4096, 4096),
        ("-1", -1, -1),
        ("64k", 65_536, 64_000),
        ("64K", 65_536, 64_000),
        ("1.5M", 1_572_864, 1_500_000),
        ("2GiB", 2 << 30, 2 * 10**9),
        ("3 MB", 3 << 20, 3_000_000),
        ("1T", 1 << 40, 10**12),
        ("1_000_000", 1_000_000, 1_000_000),
        ("1,000", 1_000, 1_000),
        ("0x1000", 4096, 4096),
    ],
)
def test_numbers(text, size, count):
    assert (parse_bytes(text), parse_count(text)) == (size, count)


@pytest.mark.parametrize(
    "text", ["", "k", "1.3", "1.00001k", "ten", "1e6", "1 2", "--1", "1kk", "0xg", "٣"]
)
def test_what_is_no_number_is_a_sentence(text):
    with pytest.raises(HeapwrightError, match="is not a size; write"):
        parse_bytes(text)


def test_a_number_too_large_for_a_knob_is_a_sentence():
    with pytest.raises(HeapwrightError, match="is too large"):
        parse_bytes("9000000T")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_integer_is_read_back(number):
    assert parse_bytes(str(number)) == parse_count(f"{number:,}") == number


def test_settings_by_manager():
    texts = [
        "glibc.arena_max=2",
        "glibc.mmap_threshold=256k",
        "first-fit.deferred=on",
        "glibc.arena_max=3",
    ]
    assert parse_settings(texts) == {
        "glibc": {"arena_max": 3, "mmap_threshold": 262_144},
        "first-fit": {"deferred": 1},
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize(
    "text", ["arena_max=2", "glibc.arena_max", "glibc.=2", ".arena_max=2", "=", ""]
)
def test_a_malformed_setting_is_a_sentence(text):
    with pytest.raises(HeapwrightError, match=r"write MANAGER\.KNOB=VALUE, as in"):
        parse_settings([text])


def test_parameters_by_name():
    assert parse_parameters(["max_bytes=64k", "live_objects=10"]) == {
        "max_bytes": 65_536,
        "live_objects": 10,
    }
    with pytest.raises(HeapwrightError, match="write PARAMETER=VALUE"):
        parse_parameters(["max_bytes"])
