"""Whether a setting of malloc can help at all: how much of the process is heap, how much is live.

    facts of the recording, the present state's replay ─► sentences, and a ceiling of what is saved

Said before any advice: where the recorded heap is a small part of the process, where what stays is
live, or where the replay holds more than the process ever did.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heapwright.result import Result
from heapwright.trace.process import FILE, HEAP, MAPPED, RSS, STACKS
from heapwright.words import bytes_text, percent_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

SMALL_HEAP = 0.5  # of what the process held; a smaller heap is told first
EXCESS_SHARE = 0.05  # by which a replay may exceed the process before it is told
EXCESS_BYTES = 1 << 20
LIVE_SHARE = 0.75  # of what stays; more is live data, which no setting makes less


@dataclass(frozen=True)
class Why:
    """Of a diagnosis what advice needs: see `insight.why`."""

    kind: str  # one of why.CAUSES
    sentence: str
    mend: str
    shares: dict[str, float]  # of the causes, of what is resident at the judged moment

    @property
    def held(self) -> float:
        """Share that is live, leaks included: no setting makes it less."""
        return self.shares["leak"] + self.shares["live"]


def why(trace: "Trace", now: Result) -> Why:
    """The diagnosis of the present state; streams the trace once more."""
    from heapwright.insight.why import diagnosis

    found = diagnosis(trace, now)
    return Why(found.kind, found.sentence, found.mend, found.shares[found.moment])


@dataclass
class Standing:
    """What is known before anything is tried."""

    sentences: list[str] = field(default_factory=list)
    ceiling: int | None = None  # bytes that the heap of the process held at most; None: not known
    excess: float = 0.0  # share by which the replay's peak exceeds that
    live_share: float = 0.0  # of what stays
    why: Why | None = None
    cause: str = ""  # what is said of it behind the advice, where a setting can help
    at_most: int | None = None  # bytes of what stays that are not live; None: not told
    luck: str = ""  # how far the figures depend on where the program's first blocks fall


def standing(trace: "Trace", now: Result, why: Why | None) -> Standing:
    """Judge the present state; `why` is known of twins only."""
    found = Standing(why=why)
    if now.end.get("resident_bytes"):
        found.live_share = now.end["live_bytes"] / now.end["resident_bytes"]
    _of_the_process(trace, now, found)
    if why is not None:
        _of_the_cause(now, why, found)
    if why is not None and trace.graph:  # a Python's
        from heapwright.insight.cycles import cycles

        found.sentences.insert(0, cycles(trace).sentence)
    return found


def _of_the_process(trace: "Trace", now: Result, found: Standing) -> None:
    grown = grown_bytes(trace)
    if grown is None or not trace.origin.get("resident_bytes", "").isdecimal():
        return
    held, whole = now.held_bytes, int(trace.origin["resident_bytes"])
    found.ceiling = grown
    if held > grown * (1 + EXCESS_SHARE) + EXCESS_BYTES:
        found.excess = held / max(grown, 1) - 1
        found.sentences.append(
            f"The process held {bytes_text(whole)} at most, {bytes_text(grown)} of it in its heap, "
            f"and the replay says {bytes_text(held)}: the program does not write all that it "
            "allocates, so the figures are too high, and no more is promised than what it held."
        )
    elif held < SMALL_HEAP * whole:
        found.sentences.append(
            f"The recorded heap is {bytes_text(held)} of the {bytes_text(whole)} that the process "
            f"held at most ({percent_text(held / whole)}): no setting of malloc saves more than "
            f"that. {_rest(trace)}"
        )


def _rest(trace: "Trace") -> str:
    """What the rest of the process is."""
    top = trace.process().peak
    if top is None:
        return (
            "The rest is code, stacks, and memory that was not asked of malloc, as a runtime's own "
            "heap or mapped files."
        )
    parts = {
        "memory that it mapped itself, as a runtime's own heap": int(top[MAPPED]),
        "files, its code among them": int(top[FILE]),
        "stacks": int(top[STACKS]),
    }
    told = [f"{bytes_text(size)} {name}" for name, size in parts.items() if size >= EXCESS_BYTES]
    return f"Of the rest {', '.join(told)}." if told else "The rest is its code."


def grown_bytes(trace: "Trace") -> int | None:
    """What the recorded process held at most in its heap, as the recorder saw it, or else beyond
    what it had before its first request; None where the recording does not know.

    A peak between two looks is made up for by the most that the process ever held, less what lay
    outside of the heap when that was most.
    """
    seen, most = trace.process().samples, trace.origin.get("resident_bytes", "")
    if len(seen):
        outside = int((seen[:, RSS] - seen[:, HEAP]).max())
        return max(int(seen[:, HEAP].max()), int(most) - outside if most.isdecimal() else 0)
    start = trace.origin.get("start_resident_bytes", "")
    if not most.isdecimal() or not start.isdecimal():
        return None
    return max(0, int(most) - int(start))


def _of_the_cause(now: Result, why: Why, found: Standing) -> None:
    """A leak and what is simply live come first, as no setting makes them less."""
    if why.kind not in ("leak", "live"):
        found.cause = why.sentence
        return
    found.sentences.append(f"{why.sentence} {why.mend}")
    if why.kind == "live" and why.held >= LIVE_SHARE and now.end:
        found.at_most = max(0, now.end["resident_bytes"] - now.end["live_bytes"])
