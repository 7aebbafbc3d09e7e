"""Bars and words of the page: what each says is the result's, and told from its neighbours."""

import re

from heapwright.report.comparison import comparison_sheet
from heapwright.report.figures import bars, legend, notes_list, origin_line, stranding_sites
from heapwright.report.markup import words
from heapwright.report.notes import notes
from heapwright.report.standing import collectors_asked, standing
from heapwright.words import PART_NAMES
from made_results import MIB, collecting, made, now, stranded

PARTS = {
    "live": 100,
    "rounding": 11,
    "headers": 12,
    "cached": 13,
    "partial": 14,
    "retained": 15,
    "garbage": 16,
    "within one event": 9,
}


def test_a_bar_is_as_long_as_what_was_held_and_its_parts_are_told():
    order = [made(), now()]  # 190 and 200 MiB
    first, second = bars(order, comparison_sheet(order)).split('<details class="row')[1:]
    labels = re.findall(r'width:([\d.]+)%" title="([^:]+): ([\d.]+) MiB \(([\d.]+) %\)"', first)
    assert {name: float(size) for _, name, size, _ in labels} == PARTS
    for width, name, _, share in labels:
        assert float(width) == round(100 * PARTS[name] / 200, 3)
        assert abs(float(share) - 100 * PARTS[name] / 190) <= 0.5
    assert ">190\u00a0MiB</span>" in first and "least" in first
    assert ">200\u00a0MiB</span>" in second and "now" in second
    assert "width:0.000%" not in first + second
    assert ">−5\u00a0%</span>" in first and 'class="change"></span>' in second
    opened = first.split('<dl class="parts">')[1].replace("\u00a0", " ")
    told = re.findall(r"</i>([^<]+)</dt><dd>([\d.]+) MiB", opened)
    assert {name: float(size) for name, size in told} == PARTS
    assert "buddy: 190 MiB resident; live 100 MiB, rounding 11.0 MiB, headers 12.0 MiB" in first


def test_a_bar_far_longer_than_the_others_is_cut():
    """Three times the shortest, or eight times where a collector is among them."""

    def drawn(times, **more):
        peak = {key: times * size for key, size in made().peak.items()}
        order = [made(high_water_bytes=0, **more), made("linear", peak=peak, high_water_bytes=0)]
        return bars(order, comparison_sheet(order)).split('<details class="row')[2]

    cut = drawn(100)
    assert cut.startswith(" cut") and ">17.7\u00a0GiB</span>" in cut
    assert sum(map(float, re.findall(r"width:([\d.]+)%", cut))) == 100
    for times, more in ((3, {}), (8, {"collecting": collecting()})):
        assert not drawn(times, **more).startswith(" cut")
        assert drawn(times + 1, **more).startswith(" cut")


def test_what_only_compares_is_folded_and_sets_no_scale():
    """The present state first, then what can be deployed, each with its difference to it."""
    wide = {key: 50 * size for key, size in made().peak.items()}
    order = [
        made("jemalloc", "measured", high_water_bytes=0),
        *(made(name) for name in ("buddy", "best-fit")),
        now(),
        made("wright", peak={key: 2 * size for key, size in made().peak.items()}),
        made("linear", peak=wide, high_water_bytes=0),
    ]
    place = standing(order, graph=False)
    assert [result.manager for result in place.first] == ["glibc", "jemalloc", "wright"]
    assert {result.manager for result in place.others} == {"buddy", "best-fit", "linear"}
    assert place.advised is order[0]
    roles = ["advised", "other", "other", "present", "twin", "other"]
    assert list(map(place.role, order)) == roles
    text = bars(order, comparison_sheet(order), place)
    shown, folded = text.split('<details class="others">')
    assert re.findall(r'class="name">(?:<span[^>]*>)?([\w-]+)', shown) == [
        "glibc",
        "jemalloc",
        "wright",
    ]
    assert "3 more, to compare" in folded and "190 MiB to 8.84 GiB" in folded
    assert folded.count('<details class="row') == 3 and 'class="row cut"' in folded
    live = re.search(r'class="live" style="width:([\d.]+)%', shown)
    assert float(live[1]) == round(100 * 100 / 362, 3), "the widest of those shown is full"


def test_few_rows_are_not_folded_and_of_collectors_none():
    few = [now(), made("buddy"), made("linear")]
    assert standing(few, graph=False).others == []
    graph = [now(), *(made(name, collecting=collecting()) for name in ("semispace", "refcount"))]
    assert standing([*graph, made("buddy"), made("linear")], graph=True).others == []
    alone = standing([made("buddy"), made("linear"), made("tlsf"), made("slots")], graph=False)
    assert alone.now is None and not alone.others and alone.advised is None


def test_collectors_are_told_of_where_one_was_asked_for():
    go = made("go", collecting=collecting())
    assert not collectors_asked([now(), go], graph=False), "compared unasked"
    assert collectors_asked([now(), go], graph=True)
    assert collectors_asked([now(), go], graph=False, named=True)
    assert not collectors_asked([now(), made()], graph=False, named=True)
    assert collectors_asked([go], graph=False), "nothing else was asked for"
    assert collectors_asked([now(), made("semispace", collecting=collecting())], graph=False)
    assert not collectors_asked([now()], graph=True)


def test_the_block_that_keeps_a_top_is_named():
    rows = [
        {
            "site": "boot (main.c:3)",
            "stack": ["main (main.c:9)", "boot (main.c:3)"],
            "heap_address": 0x1000000,
            "address": 0x2000000,
            "bytes": 72,
            "retained_bytes": 5 * MIB,
            "freed_bytes": 2 * MIB,
            "age_events": 4321,
        }
    ]
    told = {"tops": {"event": 777, "heaps": rows}}
    text = stranding_sites([made("glibc")], [told], None)
    assert "5.00 MiB empty below a last block" in text and "After event 777" in text
    assert "<ol><li>boot (main.c:3)</li><li>main (main.c:9)</li></ol>" in text
    assert "boot (main.c:3)" in text and "heap at 0x1000000" in text and 'data-value="72"' in text
    rows[0]["site"] = "unknown"
    assert "block at 0x2000000" in stranding_sites([made("glibc")], [told], None)
    assert stranding_sites([made("a")], [{"tops": {"event": 1, "heaps": []}}], None) == ""


def test_who_pins_memory_is_said_of_each_twin_whose_sites_are_known():
    one, two = made("a", settings={"knob": 1}), made("b")
    text = stranding_sites([one, two], [{"stranded": stranded()}, {}], one)
    assert text.count("<details") == 1
    assert "<details open data-manager='a (knob=1)'>" in text
    assert "<summary>a (knob=1) <span>8.89 KiB in holes</span></summary>" in text
    assert text.index("8.01 KiB") < text.index("long-lived") < text.index("6.15 KiB")
    nameless = stranded("unknown")
    nameless["by_bytes"] = nameless["by_bytes"][:1]
    assert stranding_sites([one], [{"stranded": nameless}], None) == ""
    shut = stranding_sites([two], [{"stranded": stranded() | {"by_pages": []}}], one)
    assert "<details data-manager" in shut and "long-lived" not in shut


def test_of_a_measured_system_the_rest_is_not_told_apart():
    real = made("jemalloc", "measured", high_water_bytes=0)
    assert "not told apart: 14.0 MiB" in bars([real], comparison_sheet([real]))
    assert "not told apart" in legend([real]) and "within one event" not in legend([real])
    assert "within one event" in legend([made()]) and "not told apart" not in legend([made()])
    nothing = made(peak=dict.fromkeys(made().peak, 0), high_water_bytes=MIB)
    assert "garbage" not in legend([nothing])
    for part, name in PART_NAMES.items():  # each alone, of a twin and of a real system
        alone = nothing.peak | {f"{part}_bytes": MIB}
        told = [
            re.findall(
                "</i>([^<]+)</dt>", legend([made(kind=kind, peak=alone, high_water_bytes=0)])
            )
            for kind in ("twin", "measured")
        ]
        assert told == [[name], [*([name] if part != "partial" else []), "not told apart"]]


def test_no_line_ends_between_a_number_and_its_unit():
    said = words("5.00 MiB (<7 %>), 3 bytes, 12 B of 4 k, 5 µs, 6 sites").replace("\u00a0", "~")
    assert said == "5.00~MiB (&lt;7~%&gt;), 3~bytes, 12~B of 4~k, 5~µs, 6 sites"


def test_notes_say_whose_they_are_once():
    one, two = made("a", notes=["of all", "its own"]), made("b", notes=["of all"])
    real = made("a", "measured", notes=["from outside"])
    told = notes("The trace", ["cut off"], [one, two, real], ["c: missing."])
    assert told == [
        ("The trace", "cut off"),
        ("All twins", "of all"),
        ("a", "its own"),
        ("real a", "from outside"),
        ("Missing", "c: missing."),
    ]
    other = made("b", "measured", notes=["from outside"])
    assert ("All real ones", "from outside") in notes("", [], [one, two, real, other])
    assert notes_list([("<b>", "<i>")]) == ["<li><b>&lt;b&gt;.</b> &lt;i&gt;</li>"]
    assert notes("", [], [one, made("b", notes=["of all", "its own"])])[0].about == "All"


def test_where_a_trace_was_recorded():
    told = {"date": "2026-01-02T03:04:05+00:00", "host": "h<", "libc": "2.36", "kernel": "6.1"}
    told |= {"cores": "2", "machine": "x86_64"}
    said = "recorded 2026-01-02 03:04:05 UTC · on h&lt; · 2 cores · glibc 2.36 · Linux 6.1 · x86_64"
    assert origin_line(told) == f'<p class="origin">{said}</p>'
    assert origin_line({"cores": "1"}) == '<p class="origin">1 core</p>' and origin_line({}) == ""
