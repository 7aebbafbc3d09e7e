"""`heapwright frames`: who holds a kernel's physical memory."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import heapwright as hw
from heapwright.cli import app
from heapwright.linux.account import fragmentation_index
from heapwright.managers.linux.slub.manager import RANGES
from heapwright.managers.registry import named, usual
from heapwright.trace.importers import import_file
from heapwright.trace.schema import MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.bind import bound_loop
from heapwright.tunnel.conditions import columns_of

TEXT = Path(__file__).parents[2] / "fuzz" / "corpus" / "ftrace.txt"


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "kernel.heap.parquet"
    import_file(TEXT, path)
    return str(path)


def run(*words):
    result = CliRunner().invoke(app, ["frames", *words])
    return result.exit_code, result.output


def test_the_frames_add_up_and_caches_are_named(trace):
    status, output = run(trace, "--json")
    told = json.loads(output)
    assert status == 0 and told["manager"] == "slub" and told["events"] == 8
    for moment in told["moments"]:
        free = sum(count << order for order, count in enumerate(moment["free_by_order"]))
        assert free == moment["free_frames"]
        used = moment["used_frames"] + moment["cpu_list_frames"]
        assert free + used == moment["frames"] == (1 << 18) - 1
        assert sum(moment["parts"].values()) == used * 4096
    names = {row["cache"]: row for row in told["caches"]}
    assert names["names_cache"]["objects"] == 1 and names["kmalloc-512"]["slabs"] == 1
    assert names["names_cache"]["held_bytes"] == 32768
    assert told["end"]["parts"]["live"] == 4096


def test_tables_name_the_parts(trace):
    status, output = run(trace, "--set", "memory_bytes=64M")
    assert status == 0 and "rounding in objects" in output and "names_cache" in output
    assert "16,383 frames" in output


def test_the_page_stands_alone_and_holds_the_tables(trace, tmp_path):
    page = tmp_path / "frames.html"
    status, _ = run(trace, "--html", str(page), "--json", "--manager", "slab")
    text = page.read_text()
    assert status == 0 and "{{" not in text and "http://" not in text and "https://" not in text
    assert "rounding in objects" in text and "names_cache" in text and "hold most beyond" in text
    assert "lost 7 events" in text and "through slab" in text


def test_a_kernels_trace_is_compared_by_the_kernels_managers(trace):
    assert usual(kernel=True) == ["kmalloc", "page-allocator", "slab", "slub"]
    opened = Trace.open(trace)
    assert opened.of_kernel and not set(usual()) & set(usual(kernel=True))


def test_a_manager_without_frames_is_refused(trace):
    status, output = run(trace, "--manager", "linear")
    able = "those that do: kmalloc, page-allocator, slab, slub"
    assert status == 1 and able in " ".join(output.split())


@pytest.mark.parametrize(
    ("free", "order", "index"),
    [
        ([0, 0], 1, 0.0),
        ([0, 3], 1, -1.0),
        ([1000, 0, 0, 0], 3, 0.874),  # much is free, in pieces
        ([1, 0, 0, 0], 3, -0.125),  # hardly anything is
    ],
)
def test_the_index_is_the_kernels(free, order, index):
    assert fragmentation_index(free, order) == index


@pytest.mark.parametrize("command", ["advise", "why"])
def test_a_kernel_is_given_no_advice_on_a_malloc(trace, command):
    told = CliRunner().invoke(app, [command, trace])
    assert told.exit_code == 1 and "is of a kernel, which no malloc serves" in told.output
    assert "malloc_trim" not in told.output


def test_a_kernels_space_is_its_own(trace):
    told = CliRunner().invoke(app, ["maps", trace, "--json"])
    assert json.loads(told.output)["spaces"][0]["of"] == "slub"


def test_what_found_no_room_and_what_was_assumed_is_said(trace, tmp_path):
    """A machine too small for a trace is told of, and so is one whose size nobody said."""
    path = tmp_path / "large.heap.parquet"
    with TraceWriter(path, program="large") as writer:
        writer.write(events(op=[MALLOC] * 20, slot=range(20), size=[4 << 20] * 20))
    page = tmp_path / "large.html"
    asked = (str(path), "--set", "memory_bytes=32M", "--html", str(page))
    status, output = run(*asked)
    assert status == 0 and "Ran out of memory" in output and "is of no kernel" in output
    assert "found no room in" in page.read_text()
    assert "is taken to be 1.00 GiB" in run(trace)[1]


def test_a_kernel_runs_on_slub_now_not_on_the_systems_malloc(trace):
    told = CliRunner().invoke(app, ["compare", trace, "--managers", "slub,linear"])
    assert "slub (now)" in told.output, told.output


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        (knob, end + step)
        for knob, ends in RANGES.items()
        for end, step in zip(ends, (-1, 1), strict=True)
    ],
)
def test_a_knob_that_no_kernel_takes_is_a_sentence(trace, knob, value):
    """Each beyond both of its ends."""
    status, output = run(trace, "--set", f"{knob}={value}")
    assert status == 1 and f"{knob} is " in output and f"not {value}." in output


def test_a_collector_takes_no_door_for_references(trace):
    """Its objects have none: doors were read as numbers of fields, and a collection went astray."""
    told = CliRunner().invoke(
        app, ["replay", "mark-sweep", trace, "--set", "mark-sweep.heap_bytes=64k", "--json"]
    )
    assert told.exit_code == 0, told.output
    for loop in ("mark-sweep", "slub"):
        columns = columns_of(
            bound_loop(named(loop), named(loop).template(graph=False)), Trace.open(trace)
        )
        assert ("field" in columns) == (loop == "slub") and "target" not in columns


def test_a_program_asks_the_same(trace):
    told = hw.kernel_frames(trace, manager="slab")
    status, output = run(trace, "--manager", "slab", "--json")
    assert status == 0 and told.to_json().items() <= json.loads(output).items()
    assert any(note.about == "slab" for note in told.notes)
