"""What the smaller tables say, cell by cell, of figures that are all different."""

from types import SimpleNamespace

from heapwright.insight.kernel_frames import PART_NAMES
from heapwright.insight.size_classes import SizeClasses, Table
from heapwright.report import why
from heapwright.report.agreement import agreement_sheet
from heapwright.report.areas_table import areas_sheet, endings
from heapwright.report.gc_log import collections_sheet, log_facts
from heapwright.report.kernel_frames import caches_sheet, orders_sheet, owners_sheet
from heapwright.report.maps_table import totals_sheet
from heapwright.report.size_classes import size_classes_sheet
from heapwright.report.traces import (
    lifetimes_sheet,
    power_text,
    sites_sheets,
    sizes_sheet,
    tops_sheet,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def told(sheet):
    """Each row as its name and its cells."""
    return [(row.name, [one.text(row.values) for one in sheet.columns]) for row in sheet.rows]


def test_of_a_kernels_frames():
    def moment(event, frames, parts, free, orders):
        return {
            "event": event,
            "frames": frames,
            "parts": dict(zip(PART_NAMES, parts, strict=True)),
            "free_frames": free,
            "free_by_order": orders,
            "fragmentation_index": [n / 16 - 0.5 for n in range(11)],
        }

    mib = [n * MIB for n in range(1, 7)]
    peak = moment(1234, 25600, mib, 5120, list(range(20, 31)))
    end = moment(5678, 25600, [2 * n for n in mib], 7680, list(range(40, 51)))
    names = ("cache", "beyond_bytes", "held_bytes", "object_bytes", "objects", "slabs")
    caches = [
        dict(zip(names, (f"c{n}", n * KIB, 2 * n * KIB, 3 * n * KIB, n + 100, n), strict=True))
        for n in range(14)
    ]
    found = SimpleNamespace(
        manager="slub", peak=peak, end=end, moments=[peak, end], caches=caches[::-1] + caches
    )
    sheet = owners_sheet(found)
    free = "free in the buddies"
    assert told(sheet) == [
        *(
            (name, [f"{n}.00 MiB", f"{n} %", f"{2 * n}.0{'0' if n < 5 else ''} MiB", f"{2 * n} %"])
            for n, name in enumerate(PART_NAMES.values(), 1)
        ),
        (free, ["20.0 MiB", "20 %", "30.0 MiB", "30 %"]),
    ]
    assert sheet.caption == "slub, 25,600 frames; the peak is at event 1,234."
    sheet = orders_sheet(found)
    assert told(sheet) == [
        ("1,234", ["20.0 MiB", *map(str, range(20, 31)), "-0.312", "0.062"]),
        ("5,678", ["30.0 MiB", *map(str, range(40, 51)), "-0.312", "0.062"]),
    ]
    assert [one.meaning.split()[3] for one in sheet.columns[1:-2]] == [
        str(1 << order) for order in range(11)
    ]
    shown = told(caches_sheet(found))
    assert [name for name, _ in shown] == [f"c{n}" for n in range(13, 1, -1)]
    assert shown[-1][1] == ["2.00 KiB", "4.00 KiB", "6.00 KiB", "102", "2"]
    found.caches = caches[:2]
    assert [name for name, _ in told(caches_sheet(found))] == ["c1"]


def test_of_address_spaces_and_agreement():
    figures = {"areas": 7, "bytes": 3 * MIB, "resident_bytes": 2 * MIB, "dirty_bytes": MIB}
    sheet = totals_sheet([("before", {"heap": figures}), ("after", {"stack": figures})])
    cells = ["7", "3.00 MiB", "2.00 MiB", "1.00 MiB"]
    assert told(sheet) == [("before", ["heap", *cells]), ("after", ["stack", *cells])]
    rows = [("pages", "10", "11", "91 %"), ("calls", "3", "3", "100 %")]
    sheet = agreement_sheet(SimpleNamespace(title="both", rows=lambda: rows))
    assert told(sheet) == [(what, cells) for what, *cells in rows] and sheet.title == "both"


def test_of_data_areas():
    def area(name, **more):
        known = {"room_bytes": None, "after": None, "measured": None, "option": f"-X{name}"}
        return known | {"area": name, "fills": "", "piece": "", "error": ""} | more

    rows = [
        area("a", room_bytes=3 * MIB, after={"least": 1234, "most": 1234}),
        area("b", after={"least": 5, "most": 6000}, fills="frames", piece="of 9 words"),
        area("c", after={"least": 0, "most": 7000}, fills="pieces", error="dies"),
    ]
    sheet = areas_sheet(rows)
    assert told(sheet) == [
        ("a", ["3.00 MiB", "1,234", "-Xa"]),
        ("b", ["no limit", "5 to 6,000", "-Xb"]),
        ("c", ["no limit", "up to 7,000", "-Xc"]),
    ]
    assert endings(rows) == ["b: frames, here of 9 words", "c: pieces ─► dies"]
    rows[2]["measured"] = {"after": 6999, "error": "really dies"}
    rows.append(area("d"))
    assert [cells[1:3] for _, cells in told(areas_sheet(rows))] == [
        *(["1,234", ""], ["5 to 6,000", ""], ["up to 7,000", "6,999"], ["", ""]),
    ]
    assert endings(rows)[1:] == ["c: pieces ─► really dies"]


def test_of_a_log_of_collections():
    known = {
        "span_ns": 4_000_000_000,
        "pause_ns": 1_000_000_000,
        "collector": "G1",
        "version": "21",
        "most_bytes": 2 * GIB,
        "collections": [0] * 5,
        "allocated_bytes": 8 * MIB,
        "kinds": {
            "young": {
                **{"collections": 5, "before_bytes": 3 * MIB, "after_bytes": 2 * MIB},
                **{"pause_ns": 7_000_000, "median_pause_ns": 5_000, "longest_pause_ns": 6_000_000},
            }
        },
    }
    assert [tuple(fact) for fact in log_facts(known)] == [
        ("collector", "G1"),
        ("Java", "21"),
        ("heap", "at most 2.00 GiB"),
        ("collections", "5 collections"),
        ("time", "4.00 s up to the last; stopped for 25 % of it"),
        ("allocated", "8.00 MiB up to the last, 2.00 MiB/s"),
    ]
    nothing = {"collector": "", "version": "", "most_bytes": 0, "span_ns": 0}
    assert [tuple(fact) for fact in log_facts(known | nothing)] == [
        *((name, "not named") for name in ("collector", "Java", "heap")),
        ("collections", "5 collections"),
        ("allocated", "8.00 MiB up to the last"),
    ]
    assert "allocated" not in dict(log_facts(known | {"allocated_bytes": 0}))
    (row,) = told(collections_sheet(known))
    assert row == ("young", ["5", "3.00 MiB", "2.00 MiB", "7.00 ms", "5.00 µs", "6.00 ms"])


def test_of_size_classes_by_what_they_lose():
    def table(name, *lost):
        measures = ("peak", "mean", "requests")
        shares = [n / 100 for n in lost]
        return Table(
            name,
            [16] * (lost[0] + 1),
            {measure: n * KIB for measure, n in zip(measures, lost, strict=True)},
            dict(zip(measures, shares, strict=True)),
        )

    tables = [table("best", 5, 6, 7), table("x", 4, 1, 9), table("y", 1, 3, 8), table("z", 2, 2, 2)]
    for by, order in (("peak", "yzx"), ("mean", "xzy"), ("requests", "zyx")):
        found = SizeClasses(by, 12, 16, 4096, 3456, 0, tables)
        sheet = size_classes_sheet(found)
        assert [row.name for row in sheet.rows] == ["best", *order]
        assert [row.flags for row in sheet.rows] == [(("best", "least"),), (), (), ()]
    assert told(sheet)[0][1] == [
        *("6", "5.00 KiB", "5 %", "6.00 KiB", "6 %", "7.00 KiB", "7 %"),
    ]
    assert sheet.caption.startswith("Bytes lost to rounding by 3,456 requests of up to 4,096 bytes")


class Told(SimpleNamespace):
    """Something with a form for `--json`."""

    def to_json(self):
        return vars(self)


def stack(site, bytes_, label):
    return Told(site=site, bytes=bytes_, share=bytes_ / (100 * MIB), blocks=site + 3, label=label)


def test_of_the_causes_of_memory():
    findings = [
        SimpleNamespace(cause="leak", stacks=[stack(4, 20 * MIB, "f"), stack(-1, 5 * MIB, "?")]),
        SimpleNamespace(cause="caches", stacks=[stack(-1, MIB, "unknown")]),
    ]
    causes = {"live": 30, "leak": 25, "none": 0, "caches": 0}
    peaks = {"live": 40, "leak": 10, "none": 0, "caches": 5}

    def both(end, peak, resident):
        whole = {"end": {**end}, "peak": {**peak}}
        if resident:
            for moment, size in (("end", 100), ("peak", 200)):
                whole[moment] = {c: n * MIB for c, n in whole[moment].items()}
                whole[moment]["resident_bytes"] = size * MIB
        return whole

    shares = {"live": 0.3, "leak": 0.25, "none": 0.0, "caches": 0.0}
    halves = {"live": 0.2, "leak": 0.05, "none": 0.0, "caches": 0.025}
    like = [Told(calls=n, bytes=n * KIB, label=f"l{n}", mend=f"m{n}") for n in (9, 8, 7)]
    waited = [
        Told(objects=n, bytes=n * KIB, waited_births=n + 10, longest_births=n + 20, label=f"w{n}")
        for n in (4, 3)
    ]
    keys = ("live", "leak", "fragmentation", "retention", "caches", "rounding", "garbage")
    timeline = [
        {"event": 1000 * n, "time_ns": 0, "resident_bytes": (n + 50) * MIB}
        | {key: (n + row) * MIB for row, key in enumerate(keys, 10)}
        for n in range(22)
    ]
    found = SimpleNamespace(
        diagnosis=SimpleNamespace(
            findings=findings,
            shares=both(shares, halves, resident=False),
            bytes=both(causes, peaks, resident=True),
            stack_like=like,
        ),
        result=SimpleNamespace(manager="glibc", recorded={}),
        cycles=SimpleNamespace(sites=waited),
        timeline=timeline,
    )
    sheet = why.shares_sheet(found)
    assert told(sheet) == [
        ("leak", ["25.0 MiB", "25 %", "10.0 MiB", "5 %"]),
        ("caches", ["0", "0 %", "5.00 MiB", "2.5 %"]),
        ("live", ["30.0 MiB", "30 %", "40.0 MiB", "20 %"]),
        ("resident", ["100 MiB", "100 %", "200 MiB", "100 %"]),
    ]
    assert sheet.caption == "Under the twin of glibc."
    found.result.recorded = {"arena_max": 1}
    assert why.shares_sheet(found).caption == "Under the twin of glibc, set as recorded."
    leak, one = why.stacks_sheet(found, "leak", 9), why.stacks_sheet(found, "caches", 9)
    assert told(leak) == [
        ("f", ["20.0 MiB", "20 %", "7"]),
        ("?", ["5.00 MiB", "5 %", "2"]),
    ]
    assert (leak.title, one.title, one.rows) == ("who leaks", "who is behind the caches", [])
    assert [row.name for row in why.stacks_sheet(found, "leak", 1).rows] == ["f"]
    sheet = why.timeline_sheet(found)
    assert [row.name for row in sheet.rows] == [
        *("0", "3,000", "6,000", "9,000", "12,000", "15,000", "18,000", "21,000"),
    ]
    assert told(sheet)[0][1] == ["50.0 MiB", *(f"{n}.0 MiB" for n in range(10, 17))]
    assert sheet.naming == "event"
    for row in timeline:
        row["time_ns"] = row["event"] * 1_000_000
    sheet = why.timeline_sheet(found, 2)
    assert ([row.name for row in sheet.rows], sheet.naming) == (["0 ns", "21.0 s"], "after")
    found.timeline = []
    assert why.timeline_sheet(found).rows == []
    assert told(why.stack_like_sheet(found, 2)) == [
        ("l9", ["9", "9.00 KiB"]),
        ("l8", ["8", "8.00 KiB"]),
    ]
    assert told(why.cycles_sheet(found, 1)) == [("w4", ["4", "4.00 KiB", "14", "24"])]
    found.cycles = None
    assert why.cycles_sheet(found, 1).rows == []


def test_of_a_trace():
    known = {
        "size_histogram": [
            {"to_bytes": 64, "count": 30, "bytes": 3 * KIB},
            {"to_bytes": 2 * KIB, "count": 60, "bytes": 12 * KIB},
            {"to_bytes": 128 * MIB, "count": 15, "bytes": 6 * KIB},
        ],
        "lifetimes": {
            "median_events_at_most": 4096,
            "histogram": [{"to_events": 8, "count": 10}, {"to_events": 4096, "count": 50}],
            "immortal": 40,
        },
    }
    rows = sizes_sheet(known).rows
    assert [row.name for row in rows] == ["64 B", "2 KiB", "128 MiB"]
    assert [row.values["count_share"] for row in rows] == [0.5, 1.0, 0.25]
    assert [row.values["bytes_share"] for row in rows] == [0.25, 1.0, 0.5]
    assert power_text(KIB >> 1) == "512 B" and power_text(KIB) == "1 KiB"
    sheet = lifetimes_sheet(known)
    assert sheet.title == "objects by lifetime in events (half die within 4,096 events)"
    assert [(row.name, row.values["count"], row.values["share"]) for row in sheet.rows] == [
        *(("up to 8", 10, 0.1), ("up to 4,096", 50, 0.5), ("never freed", 40, 0.4)),
    ]
    assert [row.values["count_share"] for row in sheet.rows] == [0.2, 1.0, 0.8]
    known["lifetimes"] = {"median_events_at_most": None, "histogram": [], "immortal": 0}
    sheet = lifetimes_sheet(known)
    assert sheet.title.endswith("(more than half never die)")
    assert [row.values["share"] for row in sheet.rows] == [0.0]
    heap = {"heap_address": 0x1000, "address": 0x1F80, "site": "unknown"}
    figures = {"retained_bytes": 3 * MIB, "freed_bytes": MIB, "bytes": 77, "age_events": 5}
    sheet = tops_sheet({"heaps": [heap | figures, heap | figures | {"site": "f", "stack": "abf"}]})
    cells = ["3.00 MiB", "1.00 MiB", "77", "5"]
    assert told(sheet) == [("block at 0x1f80", cells), ("f", cells)]
    assert [row.whole for row in sheet.rows] == [(), ("f", "b", "a")]
    sites = {"by_bytes": [{"site": "f"}, {"site": "g"}], "by_count": [{"site": "g"}, {"site": "f"}]}
    names = [[row.name for row in one.rows] for one in sites_sheets({"top_sites": sites}, 2)]
    assert names == [["f", "g"], ["g", "f"]]  # of those that are shown alone; all of them once
    assert [one.title for one in sites_sheets({"top_sites": sites}, 3)] == ["call sites by bytes"]
    none = {"by_bytes": [{"site": "unknown"}], "by_count": [{"site": "unknown"}]}
    assert sites_sheets({"top_sites": none}, 1) == []
    assert sheet.rows[0].details == ("heap at 0x1000",)
