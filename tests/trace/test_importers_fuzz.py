"""Whatever bytes come in: sound events or one sentence. `make fuzz` does the same for longer."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2]))
from fuzz.trial import CORPUS, FORMATS, trial

LINES = {
    name: [line for text in CORPUS[name] for line in text.splitlines(True)] for name in FORMATS
}
ODD = st.sampled_from(
    [b"", b"\n", b"\r\n", b"\0", b" ", b"-1", b"0x", b"0x0", b"(nil)", b"(", b"=", b",", b"#",
     b"18446744073709551615", b"9" * 40, b"0x" + b"f" * 20, b"4611686018427387904", b"\xff\xfe"]
)  # fmt: skip


def hostile(name):
    """Lines of the format, dropped, doubled, cut and interspersed with what nobody expects."""
    line = st.sampled_from(LINES[name])
    cut = st.builds(lambda text, at: text[: at % (len(text) + 1)], line, st.integers(0, 200))
    spliced = st.builds(
        lambda text, at, odd, drop: text[: at % len(text)] + odd + text[at % len(text) + drop :],
        line, st.integers(0, 200), ODD, st.integers(0, 8),
    )  # fmt: skip
    body = st.lists(st.one_of(line, line, cut, spliced, ODD), max_size=40).map(b"".join)
    head = st.sampled_from(CORPUS[name]).map(lambda text: b"".join(text.splitlines(True)[:6]))
    return st.one_of(st.builds(lambda first, rest: first + rest, head, body), body)


@pytest.mark.parametrize("name", FORMATS)
def test_events_are_sound_whatever_comes_in(name):
    @settings(max_examples=150, derandomize=True)
    @given(content=hostile(name))
    def check(content):
        trial(name, content)

    check()


@pytest.mark.parametrize("name", FORMATS)
def test_the_corpus_is_read_and_every_cut_of_it(name):
    for content in CORPUS[name]:
        assert trial(name, content) > 0
        for end in range(0, len(content), 7):
            trial(name, content[:end])
