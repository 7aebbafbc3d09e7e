"""Every text format, however its words are parted and its lines end: the same events."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file
from text_recordings import FORMATS, imported, told


def parted_by(text, blank):
    """The words of `text` parted otherwise; the columns of a table too."""
    if text.startswith("op,"):
        return text.replace(",", "\t" if blank == "\t" else f"{blank},{blank}")
    return text.replace(" ", blank)


SPACINGS = {
    "tabs": lambda text: parted_by(text, "\t"),
    "several spaces": lambda text: parted_by(text, "   "),
    "space and tab": lambda text: parted_by(text, " \t" if not text.startswith("op,") else " "),
    "trailing blanks": lambda text: text.replace("\n", "  \t \n"),
    "leading blanks": lambda text: "  " + text[:-1].replace("\n", "\n  ") + "\n",
    "a byte order mark": lambda text: "\ufeff" + text,
    "lines of Windows": lambda text: text.replace("\n", "\r\n"),
    "trailing blanks on Windows": lambda text: text.replace("\n", "  \r\n"),
    "no last newline": lambda text: text[:-1],
    "no last newline on Windows": lambda text: text.replace("\n", "\r\n")[:-2],
    "empty lines": lambda text: "\n\n" + text.replace("\n", "\n\n"),
    "all of it": lambda text: (
        "\ufeff\r\n" + parted_by(text, "\t").replace("\n", "  \r\n\r\n").rstrip("\r\n ")
    ),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", FORMATS)
def test_spacing_changes_nothing(name, spacing, tmp_path):
    content, expected, _ = FORMATS[name]
    (tmp_path / "plain").mkdir()
    plain = imported(content, tmp_path / "plain")
    trace = imported(SPACINGS[spacing](content), tmp_path)
    assert told(trace) == expected
    # A caller's name may itself hold blanks.
    assert [label.split() for label in trace.sites()] == [label.split() for label in plain.sites()]
    assert trace.program.split() == plain.program.split()
    assert trace.unmatched_frees == plain.unmatched_frees


def test_columns_parted_by_semicolons(tmp_path):
    content, expected, _ = FORMATS["table"]
    assert told(imported(content.replace(",", ";"), tmp_path)) == expected


def test_the_smallest_rep_with_tabs(tmp_path):
    trace = imported("1\n1\n2\n1\na\t0\t100\nf\t0\n", tmp_path)
    assert told(trace) == [("malloc", 0, 100, 0, 0), ("free", 0, 0, 0, 0)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_wide_characters_are_a_sentence(encoding, tmp_path):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "source").write_bytes((mark + FORMATS["csapp"][0]).encode(encoding))
    with pytest.raises(HeapwrightError, match=r"is UTF-16 text, .* save it as UTF-8"):
        import_file(tmp_path / "source", tmp_path / "out.parquet")
