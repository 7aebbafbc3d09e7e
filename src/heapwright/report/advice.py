"""Advice as a terminal shows it: what to do first, then the table, then the lines to copy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heapwright.cells import cell
from heapwright.report.document import trace_facts
from heapwright.report.markup import table, words
from heapwright.report.notes import notes
from heapwright.report.rows import BYTES, CHANGE, COUNT, DURATION, Column, Row, Sheet, bytes_unit
from heapwright.report.summary import print_notes
from heapwright.report.terminal import print_sheet

if TYPE_CHECKING:
    from rich.console import Console

    from heapwright.insight.advice import Advised
    from heapwright.insight.advice import Row as Tried

SHOWN = 12  # rows of a table; --json has all
LINES = {
    "shell": "In a shell",
    "dockerfile": "In a Dockerfile",
    "systemd": "In a unit of systemd",
    "kubernetes": "In Kubernetes, beside the container's image",
}
_PREDICTED, _MEASURED = "predicted.{}_resident_bytes", "measured.{}_resident_bytes"

ADVICE = (
    Column(_PREDICTED.format("end"), "end", BYTES, "what stays once the program has settled"),
    Column(_PREDICTED.format("mean"), "mean", BYTES, "resident on average", rank=3),
    Column(_PREDICTED.format("peak"), "peak", BYTES, "most resident memory"),
    Column("against_now", "vs now", CHANGE, "the three against the present state, on average"),
    Column("page_faults", "faults", COUNT, "page faults, of 4 KiB each", rank=4),
    Column("collections", "gcs", COUNT, "collections", rank=2, sparse=True),
    Column("slower_share", "time", CHANGE, "what more or fewer page faults cost or save", rank=5),
    Column(_MEASURED.format("end"), "end, run", BYTES, "measured in the program", sparse=True),
    Column(_MEASURED.format("mean"), "mean, run", BYTES, "measured in the program", 2, sparse=True),
    Column(_MEASURED.format("peak"), "peak, run", BYTES, "measured in the program", sparse=True),
    Column("measured.collections", "gcs, run", COUNT, "of its collector", rank=2, sparse=True),
    Column("measured_ns", "time, run", DURATION, "of the program", rank=1, sparse=True),
)


def document(advice: "Advised") -> dict[str, Any]:
    """What `advise --json` prints: the present state and the advice, rows of one form."""
    command = advice.trace.origin.get("command", "")
    return {
        "trace": trace_facts(advice.trace),
        "headline": advice.headline,
        "sentences": advice.sentences,
        "by": advice.by or "all",
        "present": advice.present.to_json(advice.present, command),
        "advice": [row.to_json(advice.present, command) for row in advice.rows],
        "live_share_of_end": advice.standing.live_share,
        "failures": advice.failures,
        "notes": advice.notes,
    }


def advice_html(advice: "Advised") -> str:
    """The sentences and the table, for a notebook's cell."""
    said = "".join(f"<p>{words(sentence)}</p>" for sentence in advice.sentences)
    return cell(f'{said}<div class="scroll">{table(advice_sheet(advice))}</div>')


def advice_sheet(advice: "Advised", most: int = SHOWN) -> Sheet:
    """The present state, then the candidates, best first; of many the best `most`."""
    shown = [advice.present, *advice.rows[:most]]
    documents = [row.to_json(advice.present) for row in shown]
    figures = [value for one in documents for value in one["predicted"].values() if value]
    left = len(advice.rows) - len(shown) + 1
    caption = "Bytes of the heap."
    if left > 0:
        caption += f" {left} more were tried and do no better; --json has them."
    return Sheet(
        "what the program is given",
        ADVICE,
        [
            Row(_shown(one), row.candidate.manager, row.candidate.details, _flags(row, advice))
            for row, one in zip(shown, documents, strict=True)
        ],
        caption=caption,
        starred=True,
        unit=bytes_unit(figures),
    )


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    measured = document["measured"]
    return document | {
        "against_now": sum(document["change"].values()) / len(document["change"]),
        **({"measured_ns": 1e9 * measured["seconds"]} if measured else {}),
    }


def _flags(row: "Tried", advice: "Advised") -> tuple[tuple[str, str], ...]:
    flags = {
        ("best", "best"): row is advice.best,
        ("now", "now"): row is advice.present,
        ("", "real"): row.candidate.kind == "measured",
        ("", "killed"): bool(row.killed),
        ("", "level"): row.level and not (row.worse or row.killed or row is advice.present),
    }
    return tuple(flag for flag, holds in flags.items() if holds)


def print_advice(console: "Console", advice: "Advised") -> None:
    """Sentences, the table, the lines of the first advice, notes."""
    first, *rest = advice.sentences
    console.print(first, style="bold", markup=False, soft_wrap=True)
    for sentence in rest:
        bold = "bold" if sentence == advice.headline else ""
        console.print(f"  {sentence}", style=bold, markup=False, soft_wrap=True)
    console.print()
    print_sheet(console, advice_sheet(advice))
    if advice.best is not None:
        for line in deployed(advice.best, advice.trace.origin.get("command", "")):
            console.print(line, markup=False, soft_wrap=True)
    known = advice.trace.notes
    of_the_twin = [note for note in advice.notes if note not in known]
    print_notes(console, [*notes("The trace", known, []), *notes("The twin", of_the_twin, [])])


def deployed(row: "Tried", command: str) -> Sequence[str]:
    """The lines that give it to the program, each under what reads it."""
    made = row.candidate.deployment
    if made.code:
        return ["", f"In the program: {made.code}"]
    found = []
    for reader, text in made.lines(command).items():
        found += ["", f"{LINES[reader]}:", *(f"  {line}" for line in text.splitlines())]
    return found
