"""What was assumed, not seen or left out: said once, under every table, on the page and in JSON."""

from collections.abc import Sequence
from typing import NamedTuple

from heapwright.result import Result
from heapwright.words import full_title


class Note(NamedTuple):
    """A sentence and whom it is about."""

    about: str
    sentence: str


def notes(
    about: str, trace_notes: Sequence[str], order: Sequence[Result], failures: Sequence[str] = ()
) -> list[Note]:
    """Those of the trace, called `about`; those that all managers share once, then each one's own;
    then what failed."""
    told = [Note(about, sentence) for sentence in trace_notes]
    noted: dict[str, list[str]] = {}
    for result in order:
        for sentence in result.notes:
            noted.setdefault(sentence, []).append(full_title(result))
    groups = {
        "All": list(order),
        "All twins": [result for result in order if result.kind == "twin"],
        "All real ones": [result for result in order if result.kind == "measured"],
    }
    for sentence, names in noted.items():
        whose = [
            group
            for group, members in groups.items()
            if len(members) > 1 and names == list(map(full_title, members))
        ]
        told.append(Note((whose or [", ".join(names)])[0], sentence))
    return told + [Note("Missing", failure) for failure in failures]
