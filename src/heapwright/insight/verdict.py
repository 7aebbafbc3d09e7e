"""Which manager would hold the least memory, and why, in plain words.

    results ─► ranked by the most they held ─► the best against the present state ─► sentences

The present state is what the program runs on now: glibc, which most Linux programs run on, with
nothing set; a Python program's own allocator stands on that. So a setting of glibc that helps is
told as such, and not lost against another setting. Where it is not among the results the next best
takes its place.

Where time decides what a manager holds, the most of its range counts, as the machine must have room
for that; and where two ranges overlap it is said that a run may end the other way.

Who explains and cannot be deployed, as the textbook's managers, wins no headline where something
that can be deployed was compared beside the present state: it is told below, as the comparison.

What stays once the program has settled is another question than the peak, and is told in a sentence
of its own, of what can be deployed only.

A result that refused requests is not ranked: it did not carry the same load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heapwright.managers.card import Deploy
from heapwright.managers.deploying import WITHOUT_PYTHONS, deployment
from heapwright.managers.grounds import OVER
from heapwright.managers.registry import managers, system_malloc
from heapwright.references import references
from heapwright.result import Result
from heapwright.words import (
    bytes_text,
    change_text,
    count_text,
    digits,
    full_title,
    held_text,
    percent_text,
    room_text,
    title,
)

SMALL_SHARE = 0.02  # of what is held; a smaller difference is not worth a change
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
_WITHIN = "what is held only within one event"


@dataclass(frozen=True)
class Verdict:
    """The winner and the sentences that say why."""

    winner: Result | None  # of what can be deployed, where the present state is known
    headline: str
    reasons: list[str]


def ranked(results: Sequence[Result]) -> list[Result]:
    """Least room needed first, within events too, the faster first among equals; those that refused
    last."""
    return sorted(results, key=lambda r: (r.refused > 0, r.room_bytes, -r.events_per_second))


def present(results: Sequence[Result]) -> Result | None:
    """What the program runs on now: the twin of the system's malloc without any knob set, or else
    the real one measured so; of one manager's variants alone, that without any."""
    carried = [r for r in results if not r.refused and r.held_bytes and not r.settings]
    twins_first = sorted(carried, key=lambda r: r.kind != "twin")
    if len({r.manager for r in results}) > 1:
        now = next((r.runs_on for r in results if r.runs_on), system_malloc())
        names = (now, now.removesuffix(f"{OVER}{system_malloc()}"))  # where it stands anyway
        twins_first = [r for r in twins_first if r.manager in names]
    return twins_first[0] if twins_first else None


def verdict(results: Sequence[Result]) -> Verdict:
    """Judge a comparison of one trace."""
    order = [r for r in ranked(results) if not r.refused and r.held_bytes]
    if not order:
        return Verdict(None, "No manager carried the whole trace, so there is no winner.", [])
    now = present(results)
    able = [r for r in order if now and (_is_now(r, now) or deployable(r, now))]
    deployed = any(not _is_now(r, now) for r in able)
    best = able[0] if deployed else order[0]
    rival = _rival(best, now, able if deployed else order)
    reasons = [_share_of_live(best)]
    if rival is not None:
        reasons += _difference(_told_apart(best, order), _told_apart(rival, order))
    reasons += _explained(best, order)
    reasons += _stays(best, now, order)
    reasons += _settings(best, now, order) + _measured(best, order) + _agreement(order)
    reasons += _overlap(best, rival) + _rates(best, order)
    reasons += [
        f"{full_title(r)} ran out of memory and is not ranked." for r in results if r.refused
    ]
    return Verdict(best, _headline(best, rival, now, order[0]), reasons)


def _is_now(result: Result, now: Result | None) -> bool:
    """Whether it is the present state, or the real system or the twin of it."""
    return now is not None and (result.manager, result.settings) == (now.manager, now.settings)


def _rival(best: Result, now: Result | None, order: Sequence[Result]) -> Result | None:
    """Whom the winner is compared with: the present state, or the next that is something else."""
    if now is not None and not _is_now(best, now):
        alike = [r for r in order if _is_now(r, now) and r.kind == best.kind]
        return alike[0] if alike else now
    others = [r for r in order if (r.manager, r.settings) != (best.manager, best.settings)]
    return others[0] if others else next((r for r in order if r is not best), None)


def _headline(best: Result, rival: Result | None, now: Result | None, least: Result) -> str:
    name, held = full_title(best), room_text(best)
    among = "" if least is best else " of what can be deployed"
    if rival is None:
        return f"{name} holds {held} at its peak."
    share = 1 - best.room_bytes / rival.room_bytes
    if _is_now(best, now):
        more = _more(rival.room_bytes / best.room_bytes)
        return (
            f"{name} already holds the least{among}: {held} at its peak. "
            f"{full_title(rival)}, the next, would hold {more}."
        )
    if share < SMALL_SHARE:
        below = percent_text(share)
        much, said = (" much", f"only {below} below") if below != "0 %" else ("", "as much as")
        return (
            f"No change would help{much}: {name} holds the least{among}, {held} at its peak, "
            f"{said} {full_title(rival)}."
        )
    if now is not None and best.manager == now.manager:
        return (
            f"{_as_set(best)} saves {percent_text(share)}: {best.manager} would hold {held} "
            f"instead of {room_text(rival)} at the peak."
        )
    return (
        f"{name} would hold {percent_text(share)} less memory than {full_title(rival)}: "
        f"{held} instead of {room_text(rival)} at the peak{_given_by(best, now)}."
    )


def _given_by(best: Result, now: Result | None) -> str:
    """`; LD_PRELOAD=libjemalloc.so.2 gives it to the program`; nothing of what is not deployed."""
    if now is None or not deployable(best, now):
        return ""
    said = how(best.manager, best.settings, now.manager)
    return f"; {said} gives it to the program" if said else ""


def how(manager: str, settings: Mapping[str, int], now: str = "") -> str:
    """What gives a program, which runs on `now`, a manager with its settings, as one puts it before
    a command. A Python has its own allocator over each malloc unless it is told otherwise."""
    made = deployment(deploy_of(below(manager)), settings)
    said = made.said() if made else ""
    if OVER not in now or OVER in manager:
        return said
    without = " ".join(f"{name}={value}" for name, value in WITHOUT_PYTHONS.items())
    return f"{without} {said}".rstrip()


def below(manager: str) -> str:
    """The malloc that is deployed: of "pymalloc over glibc" glibc."""
    return manager.rpartition(OVER)[2]


def deploy_of(name: str) -> Deploy:
    """How a program gets a manager: its card says it, or the real system of this name."""
    known = managers().get(name)
    if known is not None:
        return known.card.deploy or Deploy()
    for reference in references():
        if hasattr(reference, "deployed") and name in reference.names():
            found: Deploy = reference.deployed(name)
            return found
    return Deploy()


def _explained(best: Result, order: Sequence[Result]) -> list[str]:
    """Who would hold less and cannot be deployed: the comparison, not the advice."""
    least = order[0]
    share = 1 - least.room_bytes / best.room_bytes
    if least is best or share < SMALL_SHARE:
        return []
    return [
        f"In comparison: {full_title(least)}, which explains and is not deployed, would hold "
        f"{percent_text(share)} less, {room_text(least)}."
    ]


def _overlap(best: Result, rival: Result | None) -> list[str]:
    """That a run may end the other way, where the winner may hold more than its rival."""
    if rival is None or not (best.spread or rival.spread):
        return []
    least = min(rival.held_bytes, rival.spread.held_bytes[0]) if rival.spread else rival.held_bytes
    if best.room_bytes <= least:
        return []
    return [
        f"They are compared by the most of their ranges, {bytes_text(best.room_bytes)} and "
        f"{bytes_text(rival.room_bytes)}, which overlap: time may decide one run the other way."
    ]


def _as_set(result: Result) -> str:
    """A result's knobs as one sets them for a program: `MALLOC_ARENA_MAX=1`."""
    known = managers().get(result.manager)
    deploy = known.card.deploy if known else None
    said = deploy.said(result.settings) if deploy else ""
    return said or ", ".join(f"{knob}={value}" for knob, value in result.settings.items())


def deployable(result: Result, state: Result) -> bool:
    """Whether the program, which runs on `state` now, can be given it from outside: other settings
    of the same manager, or a library to preload, as the real systems are that have no twin."""
    above = result.manager.removesuffix(below(result.manager))
    if above and above != state.manager.removesuffix(below(state.manager)):
        return False  # another allocator above its malloc than it has
    known, now = (managers().get(below(one.manager)) for one in (result, state))
    if now is not None and now.collected and known is not now:
        return False  # no malloc serves a runtime's objects
    if known is None:
        return result.kind == "measured"
    deploy = known.card.deploy
    if deploy is None or (result.settings and not deploy.said(result.settings)):
        return False
    return bool(deploy.preload or deploy.library) or below(result.manager) == below(state.manager)


def _stays(best: Result, now: Result | None, order: Sequence[Result]) -> list[str]:
    """What stays under the present state once the program has settled, and what that can be
    deployed leaves least, in one sentence; none where no end is known."""
    ends = {id(r): r.end_resident_bytes for r in order if r.end_resident_bytes is not None}
    state = now if now is not None and id(now) in ends else best
    if id(state) not in ends:
        return []
    stay = ends[id(state)]
    said = (
        f"Once the program has settled, {bytes_text(stay)} stay with {full_title(state)}, "
        f"{bytes_text(state.end['live_bytes'])} of it live"
    )
    others = [r for r in order if id(r) in ends and deployable(r, state) and not _is_now(r, state)]
    if not others:
        return [said + "."]
    least = min(others, key=lambda r: ends[id(r)])
    saved = stay - ends[id(least)]
    if saved < SMALL_SHARE * stay or saved <= 0:
        return [said + "; nothing else that was tried and can be deployed leaves less."]
    own = least.manager == state.manager and least.kind == state.kind
    name = _as_set(least) if own and least.settings else full_title(least)
    said += (
        f"; of what can be deployed, {name} leaves least: {bytes_text(ends[id(least)])}, "
        f"{percent_text(saved / stay)} less"
    )
    change = least.room_bytes / state.room_bytes - 1
    if abs(change) < SMALL_SHARE:
        return [said + ", though the peaks are alike."]
    if least is best:
        return [said + ", and it has the lowest peak too."]
    return [said + f" (peak {change_text(change)})."]


def _settings(best: Result, now: Result | None, order: Sequence[Result]) -> list[str]:
    """What the settings that were tried do to the present manager, where they do not win."""
    if now is None or (best.manager == now.manager and best.settings):
        return []
    tried = [r for r in order if r.manager == now.manager and r.kind == now.kind and r.settings]
    if not tried:
        return []
    share = tried[0].room_bytes / now.room_bytes - 1
    if share > -SMALL_SHARE:
        return [
            f"Of the settings of {now.manager} that were tried none helps much: the best, "
            f"{_as_set(tried[0])}, changes its peak by {change_text(share)}."
        ]
    return [
        f"Without another allocator, {_as_set(tried[0])} saves {percent_text(-share)}: "
        f"{room_text(tried[0])} instead of {room_text(now)}."
    ]


def _more(ratio: float) -> str:
    return f"{percent_text(ratio - 1)} more" if ratio < 2 else f"{digits(ratio)} times as much"


def _share_of_live(best: Result) -> str:
    when = "At that moment"
    if best.room_bytes != best.held_bytes:
        when = f"In the course that is shown, at its peak of {bytes_text(best.held_bytes)},"
    said = (
        f"{when} {bytes_text(best.peak['live_bytes'])} of it "
        f"({percent_text(best.live_share)}) is live: asked for by the program and still held."
    )
    if best.within_event_bytes:
        said += (
            f" {bytes_text(best.within_event_bytes)} of it is held only within one event, as while "
            "a block or all objects are copied."
        )
    return said


def _told_apart(result: Result, order: Sequence[Result]) -> Result:
    """The twin of a measured result if it came as close as makes no difference, for its parts."""
    for twin in order:
        same = (twin.kind, twin.manager, twin.settings) == ("twin", result.manager, result.settings)
        if same and abs(twin.held_bytes - result.held_bytes) < SMALL_SHARE * result.held_bytes:
            return twin
    return result


def _difference(best: Result, rival: Result) -> list[str]:
    """Which parts make the difference between the two peaks."""
    gap = rival.held_bytes - best.held_bytes
    if gap < SMALL_SHARE * rival.held_bytes:
        return []
    if "measured" in (best.kind, rival.kind):
        return [
            "A real system is measured from outside: which parts make the difference to "
            f"{full_title(rival)} is known of twins only."
        ]
    saved = {
        place: rival.peak[f"{part}_bytes"] - best.peak[f"{part}_bytes"]
        for part, place in _PLACES.items()
    }
    saved[_WITHIN] = rival.within_event_bytes - best.within_event_bytes
    telling = TELLING_SHARE * max(abs(size) for size in saved.values())
    order = sorted((p for p in saved if abs(saved[p]) > telling), key=lambda p: -abs(saved[p]))
    less = [f"{bytes_text(saved[p])} less in {p}" for p in order if saved[p] > 0]
    more = [f"{bytes_text(-saved[p])} more in {p}" for p in order if saved[p] < 0]
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
    held = bytes_text(real[0].held_bytes)
    sentence = f"Of the real allocators measured, {title(real[0])} holds the least: {held}"
    baseline = [r for r in real[1:] if r.manager == system_malloc() and not r.settings]
    if baseline:
        share = 1 - real[0].held_bytes / baseline[0].held_bytes
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
                off = 100 * (twin.held_bytes / real.held_bytes - 1)
                sentences.append(
                    f"The twin of {title(real)} says {held_text(twin)} "
                    f"where the real one was measured at {bytes_text(real.held_bytes)} "
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
        f"It replayed {count_text(best.events_per_second)} events/s; "
        f"the fastest, {full_title(fastest)}, {count_text(fastest.events_per_second)}."
    ]


def _joined(phrases: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]
