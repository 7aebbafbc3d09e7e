"""What a notebook shows of a result: every figure under its own name."""

import re

from made_results import MIB, made, spread


def shown(result):
    """Names and values of the table in a notebook's cell."""
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', result._repr_html_())
    return dict(rows)


def test_every_figure_of_a_cell():
    found = shown(made(spread=spread()))
    result = made()
    bytes_ = {name: f"{size:,}" for name, size in result.peak.items() if size}
    assert result.peak["resident_bytes"] == 181 * MIB
    assert found == {
        "held bytes": f"{190 * MIB:,}",
        "as time decides, least bytes": f"{45 * MIB:,}",
        "as time decides, most bytes": f"{345 * MIB:,}",
        **{name.replace("_", " "): size for name, size in bytes_.items()},
        "mean resident bytes": f"{98 * MIB:,}",
        "end resident bytes": f"{47 * MIB:,}",
        "page faults": "4,321",
        "mapped bytes, peak": f"{333 * MIB:,}",
    }
