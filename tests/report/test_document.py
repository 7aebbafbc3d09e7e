"""What the document says: its keys are those of its sections, and of every table's columns."""

from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from heapwright import sections
from heapwright.report.comparison import (
    COLLECTORS,
    COMPARISON,
    SPACE_TIME,
    comparison_rows,
    comparison_sheet,
)
from heapwright.report.document import Compared, comparison_document, document, site_label
from heapwright.report.limits import LIMITS
from heapwright.report.markup import table
from heapwright.report.terminal import plain
from heapwright.result import SCHEMA_VERSION, UnderLimit
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from made_results import collecting, curve, made, now, spread


def test_a_site_without_a_row_is_unknown():
    labels = ("main", "parse")
    assert [site_label(site, labels) for site in (-1, 0, 1, 2)] == [
        "unknown",
        "main",
        "parse",
        "unknown",
    ]


def faults(kind, value, where="document"):
    """Where a value of JSON is not of the type that its section names."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is NotRequired:
        return faults(inner[0], value, where)
    if is_typeddict(kind):
        known = get_type_hints(kind)
        wrong = [f"{where}.{key}" for key in value.keys() ^ known.keys()]
        wrong = [key for key in wrong if key.rpartition(".")[2] not in kind.__optional_keys__]
        return wrong + [
            fault
            for key in value.keys() & known.keys()
            for fault in faults(known[key], value[key], f"{where}.{key}")
        ]
    if origin is list:
        return [fault for one in value for fault in faults(inner[0], one, where)]
    if origin is dict:
        return [fault for one in value.values() for fault in faults(inner[1], one, where)]
    if origin is Literal:
        return [] if value in inner else [where]
    if inner:  # one of several
        return [] if any(not faults(one, value, where) for one in inner) else [where]
    if kind is Any:
        return []
    right = type(value) is kind or (kind is float and type(value) is int)
    return [] if right or (value is None and kind is type(None)) else [where]


def path_is_there(section, key):
    """Whether a column's key leads to a value of the section."""
    name, _, rest = key.partition(".")
    known = get_type_hints(section)
    if name not in known:
        return False
    inner = known[name]
    if get_origin(inner) is NotRequired:
        (inner,) = get_args(inner)
    return path_is_there(inner, rest) if rest and is_typeddict(inner) else True


def told_of(tmp_path):
    """A trace, and rows with everything that a row may have."""
    with TraceWriter(tmp_path / "t.heap.parquet", program="p", kind="synthetic") as out:
        out.write(events(op=[MALLOC, FREE], slot=[0, 0], size=[100, 0]))
    refusing = made(
        "stack",
        refused=3,
        spread=spread(),
        collecting=collecting(),
        storeys={"glibc": {"live_bytes": 5}},
        under_limit=UnderLimit(1 << 20, 0, killed_event=7, killed_seconds=0.5),
        notes=["a sentence"],
    )
    return Trace.open(tmp_path / "t.heap.parquet"), [now(), refusing]


def test_the_document_has_the_keys_and_types_of_its_sections(tmp_path):
    trace, results = told_of(tmp_path)
    told = comparison_document(Compared(trace, results, ["x: no room"]))
    told["space_time"] = curve()
    assert faults(sections.ComparisonDocument, told) == []
    assert told["schema_version"] == SCHEMA_VERSION
    both = document([Compared(trace, results), Compared(trace, results[:1])])
    assert faults(sections.Comparisons, both) == []
    # and what is not of its section is seen
    row = told["results"][1]
    row["refused"], row["new"] = "3", 1
    del row["peak"]["live_bytes"], row["page_faults"]
    told["trace"]["notes"] = [1]
    assert sorted(faults(sections.ComparisonDocument, told)) == [
        "document.results.new",
        "document.results.page_faults",
        "document.results.refused",
        "document.trace.notes",
    ]


def test_every_column_of_a_table_is_a_key_of_a_section():
    limits = [column for column in LIMITS if column.key.startswith("under_limit.")]
    columns = [*COMPARISON, *COLLECTORS, *limits]
    assert limits
    assert [c.key for c in columns if not path_is_there(sections.ComparedSection, c.key)] == []
    assert [c.key for c in SPACE_TIME if not path_is_there(sections.SpaceTimeRow, c.key)] == []
    assert not path_is_there(sections.ComparedSection, "spread.held")


def test_a_refusal_is_told_in_json_in_the_terminal_and_on_the_page(tmp_path):
    _, results = told_of(tmp_path)
    assert [row["refused"] for row in comparison_rows(results)] == [0, 3]
    sheet = comparison_sheet(results)
    told = [line for line in plain(sheet, 1 << 14) if "ran out of memory" in line]
    assert len(told) == 1 and "glibc" not in told[0]
    rows = [row for row in table(sheet).split("<tr") if "ran out of memory" in row]
    assert len(rows) == 1 and 'data-manager="stack"' in rows[0]
