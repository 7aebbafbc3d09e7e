"""Bars and words of the page: what each says is the result's, and told from its neighbours."""

import re

from heapwright.report.comparison import comparison_sheet
from heapwright.report.figures import bars, legend, notes_list, stranding_sites
from heapwright.report.markup import words
from heapwright.report.notes import notes
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
    first, second = bars(order, comparison_sheet(order)).split('<div class="row')[1:]
    labels = re.findall(r'width:([\d.]+)%" title="([^:]+): ([\d.]+) MiB \(([\d.]+) %\)"', first)
    assert {name: float(size) for _, name, size, _ in labels} == PARTS
    for width, name, _, share in labels:
        assert float(width) == round(100 * PARTS[name] / 200, 3)
        assert abs(float(share) - 100 * PARTS[name] / 190) <= 0.5
    assert ">190 MiB</span>" in first and "least" in first
    assert ">200 MiB</span>" in second and "now" in second
    assert "buddy: 190 MiB resident; live 100 MiB, rounding 11.0 MiB, headers 12.0 MiB" in first


def test_a_bar_far_longer_than_the_others_is_cut():
    """Three times the shortest, or eight times where a collector is among them."""

    def drawn(times, **more):
        peak = {key: times * size for key, size in made().peak.items()}
        order = [made(high_water_bytes=0, **more), made("linear", peak=peak, high_water_bytes=0)]
        return bars(order, comparison_sheet(order)).split('<div class="row')[2]

    cut = drawn(100)
    assert cut.startswith(" cut") and ">17.7 GiB</span>" in cut
    assert sum(map(float, re.findall(r"width:([\d.]+)%", cut))) == 100
    for times, more in ((3, {}), (8, {"collecting": collecting()})):
        assert not drawn(times, **more).startswith(" cut")
        assert drawn(times + 1, **more).startswith(" cut")


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
