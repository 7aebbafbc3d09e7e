"""Which manager would hold the least memory, and why, in plain words.

    results ─► ranked by peak resident ─► winner ─► its rival ─► parts side by side ─► sentences

The rival is glibc, which most Linux programs run on, or else the next best.

A result that refused requests is not ranked: it did not carry the same load.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from heapwright.result import Result
from heapwright.words import bytes_text, count_text, digits, full_title, percent_text, title

BASELINE = "glibc"  # what a Linux program runs on unless somebody chose otherwise
SMALL_SHARE = 0.02  # of resident memory; a smaller difference is not worth a change
TELLING_SHARE = 0.1  # of the difference; a part that contributes less is not mentioned

# Where a byte can be that is not live, as in "1 MiB less in caches".
_PLACES = {
    "rounding": "rounding of sizes",
    "header": "headers and tables",
    "cached": "caches",
    "partial": "holes between live objects",
    "retained": "empty pages kept",
    "garbage": "uncollected garbage",
}


@dataclass(frozen=True)
class Verdict:
    """The winner and the sentences that say why."""

    winner: Result | None
    headline: str
    reasons: list[str]


def resident(result: Result) -> int:
    """Peak resident bytes."""
    return result.peak["resident_bytes"]


def ranked(results: Sequence[Result]) -> list[Result]:
    """Least peak resident first, the faster first among equals; those that refused last."""
    return sorted(results, key=lambda r: (r.refused > 0, resident(r), -r.events_per_second))


def verdict(results: Sequence[Result]) -> Verdict:
    """Judge a comparison of one trace."""
    order = [r for r in ranked(results) if not r.refused and resident(r)]
    if not order:
        return Verdict(None, "No manager carried the whole trace, so there is no winner.", [])
    best = order[0]
    rival = _rival(best, order)
    reasons = [_share_of_live(best)]
    if rival is not None:
        reasons += _difference(_told_apart(best, order), _told_apart(rival, order))
    reasons += _measured(best, order) + _agreement(order) + _rates(best, order)
    reasons += [
        f"{full_title(r)} ran out of memory and is not ranked." for r in results if r.refused
    ]
    return Verdict(best, _headline(best, rival), reasons)


def _rival(best: Result, order: Sequence[Result]) -> Result | None:
    """Whom the winner is compared with."""
    baselines = [r for r in order if r.manager == BASELINE and r is not best]
    if best.manager != BASELINE and baselines:
        same_kind = [r for r in baselines if r.kind == best.kind]
        return (same_kind or baselines)[0]
    others = [r for r in order if r.manager != best.manager] or order[1:]
    return others[0] if others else None


def _headline(best: Result, rival: Result | None) -> str:
    name, held = full_title(best), bytes_text(resident(best))
    if rival is None:
        return f"{name} holds {held} at its peak."
    share = 1 - resident(best) / resident(rival)
    if best.manager == BASELINE and rival.manager != BASELINE:
        return (
            f"{name} already holds the least: {held} at its peak. "
            f"{full_title(rival)}, the next, would hold {_more(resident(rival) / resident(best))}."
        )
    if share < SMALL_SHARE:
        return (
            f"No change would help much: {name} holds the least, {held} at its peak, "
            f"only {percent_text(share)} below {full_title(rival)}."
        )
    return (
        f"{name} would hold {percent_text(share)} less memory than {full_title(rival)}: "
        f"{held} instead of {bytes_text(resident(rival))} at the peak."
    )


def _more(ratio: float) -> str:
    return f"{percent_text(ratio - 1)} more" if ratio < 2 else f"{digits(ratio)} times as much"


def _share_of_live(best: Result) -> str:
    live = best.peak["live_bytes"]
    return (
        f"At that moment {bytes_text(live)} of it ({percent_text(live / resident(best))}) is live: "
        "asked for by the program and still held."
    )


def _told_apart(result: Result, order: Sequence[Result]) -> Result:
    """The twin of a measured result if it came as close as makes no difference, for its parts."""
    for twin in order:
        same = (twin.kind, twin.manager, twin.settings) == ("twin", result.manager, result.settings)
        if same and abs(resident(twin) - resident(result)) < SMALL_SHARE * resident(result):
            return twin
    return result


def _difference(best: Result, rival: Result) -> list[str]:
    """Which parts make the difference between the two peaks."""
    gap = resident(rival) - resident(best)
    if gap < SMALL_SHARE * resident(rival):
        return []
    if "measured" in (best.kind, rival.kind):
        return [
            "A real system is measured from outside: which parts make the difference to "
            f"{full_title(rival)} is known of twins only."
        ]
    saved = {p: rival.peak[f"{p}_bytes"] - best.peak[f"{p}_bytes"] for p in _PLACES}
    telling = TELLING_SHARE * max(abs(size) for size in saved.values())
    order = sorted((p for p in saved if abs(saved[p]) > telling), key=lambda p: -abs(saved[p]))
    less = [f"{bytes_text(saved[p])} less in {_PLACES[p]}" for p in order if saved[p] > 0]
    more = [f"{bytes_text(-saved[p])} more in {_PLACES[p]}" for p in order if saved[p] < 0]
    sentence = f"Compared with {full_title(rival)} it holds " + _joined(less)
    if less and more:
        sentence += ", but "
    sentences = [sentence + _joined(more) + "."]
    if abs(rival.peak["live_bytes"] - best.peak["live_bytes"]) > TELLING_SHARE * gap:
        sentences.append(
            "The two peak at different moments: "
            f"with {bytes_text(best.peak['live_bytes'])} live and "
            f"with {bytes_text(rival.peak['live_bytes'])}."
        )
    return sentences


def _measured(best: Result, order: Sequence[Result]) -> list[str]:
    """The best of the real systems, when a twin won."""
    real = [r for r in order if r.kind == "measured"]
    if not real or real[0] is best:
        return []
    held = bytes_text(resident(real[0]))
    sentence = f"Of the real allocators measured, {real[0].manager} holds the least: {held}"
    baseline = [r for r in real[1:] if r.manager == BASELINE]
    if baseline:
        share = 1 - resident(real[0]) / resident(baseline[0])
        sentence += f", {percent_text(share)} below {full_title(baseline[0])}"
    return [sentence + "."]


def _agreement(order: Sequence[Result]) -> list[str]:
    """How far each twin is from the real system that was measured with the same knobs."""
    sentences = []
    for real in order:
        for twin in order:
            if (real.kind, twin.kind) != ("measured", "twin"):
                continue
            if (real.manager, real.settings) == (twin.manager, twin.settings):
                off = 100 * (resident(twin) / resident(real) - 1)
                sentences.append(
                    f"The twin of {title(real)} says {bytes_text(resident(twin))} "
                    f"where the real one was measured at {bytes_text(resident(real))} "
                    f"({off:+.1f} %)."
                )
    return sentences


def _rates(best: Result, order: Sequence[Result]) -> list[str]:
    """What the winner's frugality costs in speed."""
    if len(order) < 2:
        return []
    fastest = max(order, key=lambda r: r.events_per_second)
    if fastest is best:
        return [f"It is also the fastest: {count_text(best.events_per_second)} events/s."]
    return [
        f"It flew {count_text(best.events_per_second)} events/s; "
        f"the fastest, {full_title(fastest)}, {count_text(fastest.events_per_second)}."
    ]


def _joined(phrases: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]
