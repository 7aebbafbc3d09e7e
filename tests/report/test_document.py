"""What the document says in words."""

from heapwright.report.document import site_label


def test_a_site_without_a_row_is_unknown():
    labels = ("main", "parse")
    assert [site_label(site, labels) for site in (-1, 0, 1, 2)] == [
        "unknown",
        "main",
        "parse",
        "unknown",
    ]
