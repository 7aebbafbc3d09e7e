"""Bars and words of the page: what each says is the result's, and told from its neighbours."""

import re

from heapwright.report.comparison import comparison_sheet
from heapwright.report.figures import bars, legend, notes_list
from heapwright.report.markup import words
from heapwright.report.notes import notes
from made_results import MIB, made, now

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
    assert '<span class="value">190 MiB</span>' in first and "least" in first
    assert '<span class="value">200 MiB</span>' in second and "now" in second
    assert "buddy: 190 MiB resident; live 100 MiB, rounding 11.0 MiB, headers 12.0 MiB" in first


def test_a_bar_far_longer_than_the_others_is_cut():
    peak = {key: 100 * size for key, size in made().peak.items()}
    order = [made(), made("linear", peak=peak, high_water_bytes=0)]
    cut = bars(order, comparison_sheet(order)).split('<div class="row')[2]
    assert cut.startswith(" cut") and '<span class="value">17.7 GiB</span>' in cut
    assert sum(map(float, re.findall(r"width:([\d.]+)%", cut))) == 100


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
    assert notes_list([("<b>", "<i>")]) == ["<li><b>&lt;b&gt;.</b> &lt;i&gt;</li>"]
    assert notes("", [], [one, made("b", notes=["of all", "its own"])])[0].about == "All"
