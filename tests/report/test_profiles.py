"""Heap profiles, each read by its own tool or held to its own format."""

import json
import re
import subprocess

import pytest

from heapwright.errors import HeapwrightError
from heapwright.references.go import build
from heapwright.report.profiles import heap_profile, write_profile
from heapwright.report.profiles.profile import placed
from heapwright.trace.ending import ending
from planted import Program

STACK = ["main (src/p.c:3)", "serve (p.c:9)\nread; all (p.c:20)", "grow"]
KINDS = "alloc_objects alloc_space peak_objects peak_space leaked_space inuse_objects inuse_space"


@pytest.fixture
def trace(tmp_path):
    p = Program()
    held = [p.malloc(100, *STACK) for _ in range(30)]
    for block in held[10:]:
        p.free(block)
    for _ in range(200):
        p.request()
        p.malloc(50, "main (src/p.c:3)", "leaks")
    return p.write(tmp_path / "t.parquet")


def sums(trace):
    """(all, at the end) in bytes by the innermost function, as asked for above."""
    profile = heap_profile(trace)
    column = {kind.name: n for n, kind in enumerate(profile.kinds)}
    found = {}
    for row in profile.rows():
        values = profile.values[row].tolist()
        name = profile.functions(row)[-1]
        found[name] = [values[column[k]] for k in ("alloc_space", "inuse_space", "leaked_space")]
    return found


def test_the_values_are_those_planted(trace):
    found = sums(trace)
    assert found["grow"] == [3000, 1000, 0]
    assert found["leaks"][0] == 10_000 and min(found["leaks"]) > 9_000
    assert found["request"][1] == 0
    profile = heap_profile(trace)
    assert [kind.name for kind in profile.kinds] == KINDS.split()
    assert profile.values[:, 3].sum() == trace.peak_live_bytes


def test_pprof_reads_it(trace, tmp_path):
    if build.missing():
        pytest.skip(build.missing())
    out = tmp_path / "p.pb.gz"
    assert write_profile(trace, "pprof", out) == [
        "a profile holds sums, not events: it cannot be imported again"
    ]
    done = subprocess.run(
        [build.toolchain().command, "tool", "pprof", "-raw", out],
        capture_output=True,
        text=True,
        check=True,
    )
    head, _, places = done.stdout.partition("Locations\n")
    assert "inuse_space/bytes[dflt]" in head
    samples = re.findall(r"^((?: +\d+){7}): ([\d ]+)$", head, re.M)
    lines: dict[str, list[str]] = {}
    number = ""
    for line in places.partition("Mappings")[0].splitlines():
        match = re.match(r" +(\d+): 0x0 (?:M=1 )?(.*) (\S*:\d+:\d+) s=0", line)
        if match:
            number = match[1]
        else:
            match = re.match(r" +()(.*) (\S*:\d+:\d+) s=0", line)
        assert match, line
        lines.setdefault(number, []).append(f"{match[2]} {match[3]}")
    told = {}
    for values, where in samples:
        stack = [frame for one in where.split() for frame in lines[one]]
        told[tuple(stack)] = [int(value) for value in values.split()]
    grow = ("grow :0:0", "read; all p.c:20:0", "serve p.c:9:0", "main src/p.c:3:0")
    assert told[grow][:2] == [30, 3000] and told[grow][-2:] == [10, 1000]
    assert len(told) == 3


def test_collapsed_stacks(trace, tmp_path):
    out = tmp_path / "p.collapsed"
    write_profile(trace, "collapsed", out, "alloc_space")
    lines = out.read_text().splitlines()
    assert "main (src/p.c:3);serve (p.c:9);read: all (p.c:20);grow 3000" in lines
    assert all(re.fullmatch(r"[^;\n]+(;[^;\n]+)* \d+", line) for line in lines) and len(lines) == 3
    write_profile(trace, "collapsed", out)
    end = ending(trace)
    assert (
        sum(int(line.rpartition(" ")[2]) for line in out.read_text().splitlines())
        == end.end_live_bytes
    )


# What speedscope's file format asks for, of the parts that are written
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "profiles", "shared"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "activeProfileIndex": {"type": "integer"},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "file": {"type": "string"},
                            "line": {"type": "integer"},
                        },
                        "additionalProperties": False,
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    "type",
                    "name",
                    "unit",
                    "startValue",
                    "endValue",
                    "samples",
                    "weights",
                ],
                "properties": {
                    "type": {"const": "sampled"},
                    "unit": {
                        "enum": [
                            "none",
                            "nanoseconds",
                            "microseconds",
                            "milliseconds",
                            "seconds",
                            "bytes",
                        ]
                    },
                    "samples": {
                        "type": "array",
                        "items": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    },
                    "weights": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
    },
}


def test_speedscope(trace, tmp_path):
    out = tmp_path / "p.json"
    write_profile(trace, "speedscope", out, "leaked_space")
    document = json.loads(out.read_text())
    pytest.importorskip("jsonschema").validate(document, SPEEDSCOPE)
    frames = document["shared"]["frames"]
    assert {"name": "read; all", "file": "p.c", "line": 20} in frames
    shown = document["profiles"][document["activeProfileIndex"]]
    assert shown["name"].startswith("leaked_space")
    for profile in document["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert sum(profile["weights"]) == profile["endValue"]
        assert all(max(stack) < len(frames) for stack in profile["samples"])
    names = [[frames[n]["name"] for n in stack] for stack in shown["samples"]]
    assert names == [["main", "leaks"]]


def test_a_trace_without_stacks_and_a_kind_that_is_none(trace, tmp_path):
    with pytest.raises(HeapwrightError, match="'heap' is none: choose one of alloc_objects"):
        write_profile(trace, "collapsed", tmp_path / "x", "heap")
    p = Program()
    p.tree.node = lambda frames: -1  # no call site is known
    p.malloc(70, "main")
    unknown = p.write(tmp_path / "u.parquet")
    told = write_profile(unknown, "collapsed", tmp_path / "x")
    assert "each call site stands alone" in told[0]
    assert (tmp_path / "x").read_text() == "unknown 70\n"


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("parse (json.c:12)", ("parse", "json.c", 12)),
        ("f(int) (a b.cc:1)", ("f(int)", "a b.cc", 1)),
        ("open (libc.so.6)", ("open", "libc.so.6", 0)),
        ("f(int)", ("f(int)", "", 0)),
        ("libfoo.so+0x12", ("libfoo.so+0x12", "", 0)),
        ("f()", ("f()", "", 0)),
    ],
)
def test_labels_in_parts(label, place):
    assert placed(label) == place
