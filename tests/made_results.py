"""Results and statistics made by hand, in which no two figures are alike: what shows a wrong one
shows it differently."""

import numpy as np

from heapwright.flight.statistics import ProcessStatistics
from heapwright.insight.space_time import asked, space_time
from heapwright.result import CYCLE, PARTS, Collecting, Generations, Result, Spread

MIB = 1 << 20


def made(manager="buddy", kind="twin", **more):
    """A result; parts of 100, 11, 12, 13, 14, 15 and 16 MiB, 9 MiB more within one event."""
    peak = {f"{part}_bytes": size * MIB for part, size in zip(PARTS, PARTS_MIB, strict=True)}
    peak["resident_bytes"] = sum(peak.values())
    figures = {
        "events": 1_000_000,
        "seconds": 0.25,
        "peak": peak,
        "page_faults": 4321,
        "mapped_bytes_peak": 333 * MIB,
        "high_water_bytes": peak["resident_bytes"] + 9 * MIB,
        "end": {"resident_bytes": 47 * MIB, "live_bytes": 5 * MIB, "retained_bytes": 42 * MIB},
        "end_event": 990_000,
        "exit_resident_bytes": 46 * MIB,
        "mean_resident_bytes": 98 * MIB,
        "conditions": {"touch": "all", "huge_pages": "never"},
        "clock_ns": np.array([0, 7_500_000_000]),
    }
    return Result(manager=manager, kind=kind, **figures | more)


def spread():
    """What a result may be as time decides."""
    return Spread(9, (45 * MIB, 345 * MIB), (17, 29))


PARTS_MIB = (100, 11, 12, 13, 14, 15, 16)


def now():
    """The present state: 200 MiB, half of them live."""
    peak = dict.fromkeys((f"{part}_bytes" for part in PARTS), 0)
    peak |= {"resident_bytes": 200 * MIB, "live_bytes": 100 * MIB, "partial_bytes": 100 * MIB}
    return made("glibc", peak=peak, high_water_bytes=0, mapped_bytes_peak=201 * MIB, seconds=0.5)


def collecting(**more):
    """What a collector did."""
    figures = {
        "collections": {"full": 21, "minor": 1234},
        "pauses": 1255,
        "pause_ns": {"median": 1100, "p90": 2200, "p99": 3300, "longest": 44_000, "total": 999_000},
        "pause_histogram": [0, 0, 5],
        "utilisation": 0.875,
        "minimum_utilisation": [(1000, 0.0), (2000, 0.5)],
        "totals": {
            "marked_bytes": 31 * MIB,
            "copied_bytes": 32 * MIB,
            "promoted_bytes": 33 * MIB,
            "swept_bytes": 34 * MIB,
            "allocated_bytes": 35 * MIB,
            "barriers": 5678,
        },
        "survival": {"full": 0.5, "minor": 0.031},
        "goal_bytes": {},
        "cycles": np.zeros((0, len(CYCLE)), np.int64),
    }
    return Collecting(**figures | more)


def generations(**more):
    """Two young collections and a full one of a small heap."""
    rows = [
        (100, 0, 800, 0, 10, 0, 200, 60, 50, 15),
        (200, 0, 800, 200, 60, 0, 100, 260, 200, 2),
        (300, 1, 700, 100, 260, 0, 0, 300, 0, 2),
    ]
    figures = {
        "kinds": ("young", "full"),
        "capacity": {"eden": 800, "survivors": 200, "old": 1000},
        "promoted_bytes": {"total": 250, "median": 125, "most": 200},
        "ages": [60, 40, 0],
        "threshold": 2,
        "counted": 3,
        "collections": np.array(rows, np.int64),
    }
    return Generations(**figures | more)


def statistics(site="parse (json.c:12)", many=1):
    """What `insight.statistics` says of a trace."""
    return {
        "path": "t.heap.parquet",
        "program": "t",
        "kind": "recording",
        "notes": [],
        "size_bytes_on_disk": 3000 * many,
        "events": 1000 * many,
        "allocations": 501 * many,
        "reallocations": 52 * many,
        "frees": 447 * many,
        "unmatched_frees": 3 * many,
        "requests_refused": 4 * many,
        "threads": 5,
        "frees_by_another_thread": 6 * many,
        "has_addresses": True,
        "peak_live_bytes": 70_000 * many,
        "peak_live_objects": 81 * many,
        "requested_bytes": 90_000 * many,
        "live_at_end": {"objects": 54 * many, "bytes": 11_000 * many},
        "by_operation": {"malloc": 501 * many, "realloc": 52 * many, "free": 447 * many, "new": 0},
        "size_histogram": [
            {"from_bytes": 17, "to_bytes": 32, "count": 400 * many, "bytes": 12_000 * many},
            {"from_bytes": 33, "to_bytes": 2048, "count": 153 * many, "bytes": 78_000 * many},
        ],
        "lifetimes": {
            "histogram": [{"from_events": 0, "to_events": 1, "count": 146 * many, "bytes": 1}],
            "median_events_at_most": 64,
            "immortal": 54 * many,
            "immortal_share": 0.27,
        },
        "lifetimes_by_size": [],
        "realloc_chains": {
            "objects": 41 * many,
            "longest": 7,
            "grew": 22 * many,
            "shrank": 19 * many,
            "bytes_copied_at_worst": 8000 * many,
        },
        "graph": None,
        "top_sites": {
            "by_bytes": [
                {"site": site, "count": 77 * many, "bytes": 66_000 * many},
                {"site": "grow (table.c:7)", "count": 99 * many, "bytes": 5000 * many},
            ],
            "by_count": [
                {"site": "grow (table.c:7)", "count": 99 * many, "bytes": 5000 * many},
                {"site": site, "count": 77 * many, "bytes": 66_000 * many},
            ],
        },
    }


def stranded(site="parse (json.c:12)", many=1):
    """Who pins free bytes, of `insight.stranded` with call sites in words."""
    return {
        "partial_bytes": 9100 * many,
        "by_bytes": [
            {
                "site": site,
                "bytes": 8200 * many,
                "share": 0.9,
                "objects": 31 * many,
                "pages": 12 * many,
                "median_age_events": 405 * many,
            },
            {
                "site": "next to nothing",
                "bytes": 2,
                "share": 0.0002,
                "objects": 1,
                "pages": 1,
                "median_age_events": 3,
            },
        ],
        "by_pages": [{"site": site, "pages": 8 * many, "bytes": 6300 * many}],
    }


def processes():
    """What two processes held at their end; of the second the parts are not known."""
    parts = ("live", "rounding", "header", "cached", "partial", "retained", "garbage")
    sizes = {f"{part}_bytes": n * MIB for n, part in enumerate(parts[:-1], 11)}
    known = ProcessStatistics(
        "/bin/sqlite3",
        4711,
        1,
        55,
        81 * MIB,
        sizes | {"garbage_bytes": 0},
        90 * MIB,
        97 * MIB,
        3,
        {},
    )
    unknown = ProcessStatistics("/bin/sh", 4712, 1, 6, 0, {}, 0, 98 * MIB, 3, {})
    return [known, unknown]


def curve():
    """Time against space in JSON: a heap that is too small, and one that fits."""
    points = asked("semispace", [{}], [2, 3], 4096)
    fitting = made(
        "semispace",
        settings=points[1].settings,
        seconds=1.5,
        collecting=collecting(),
        high_water_bytes=800 * MIB,
    )
    explicit = made("glibc", high_water_bytes=200 * MIB)
    return space_time(points, [fitting, explicit]).to_json()
