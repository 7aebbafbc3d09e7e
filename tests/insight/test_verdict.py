"""Who wins, and which sentences say why."""

from heapwright.insight.verdict import ranked, verdict
from heapwright.result import PARTS, Result
from heapwright.words import bytes_text, count_text, percent_text


def made(manager, kind="twin", seconds=1.0, **mebibytes):
    """A result from its parts in MiB."""
    refused = mebibytes.pop("refused", 0)
    peak = {f"{part}_bytes": int(mebibytes.get(part, 0) * 2**20) for part in PARTS}
    peak["resident_bytes"] = sum(peak.values())
    return Result(
        manager=manager,
        kind=kind,
        events=1_000_000,
        seconds=seconds,
        peak=peak,
        page_faults=1,
        mapped_bytes_peak=peak["resident_bytes"],
        refused=refused,
    )


def test_winner_against_glibc_names_the_parts_that_differ():
    glibc = made("glibc", live=10, header=1, partial=6, seconds=0.1)
    buddy = made("buddy", live=10, rounding=2, partial=1, seconds=0.2)
    judged = verdict([glibc, made("linear", live=10, retained=90), buddy])
    assert judged.winner is buddy
    assert judged.headline == (
        "buddy would hold 24 % less memory than glibc: 13.0 MiB instead of 17.0 MiB at the peak."
    )
    assert (
        "Compared with glibc it holds 5.00 MiB less in holes between live objects and 1.00 MiB "
        "less in headers and tables, but 2.00 MiB more in rounding of sizes." in judged.reasons
    )
    assert "It flew 5.00 M events/s; the fastest, glibc, 10.0 M." in judged.reasons


def test_glibc_as_the_winner():
    judged = verdict([made("glibc", live=10), made("buddy", live=10, rounding=5)])
    assert judged.headline == (
        "glibc already holds the least: 10.0 MiB at its peak. "
        "buddy, the next, would hold 50 % more."
    )


def test_a_small_difference_is_called_small():
    judged = verdict([made("glibc", live=10), made("buddy", live=9.95)])
    assert judged.headline.startswith("No change would help much: buddy holds the least")
    assert not any("Compared" in reason for reason in judged.reasons)


def test_peaks_at_different_moments_are_told():
    judged = verdict([made("glibc", live=10), made("linear", live=1, retained=90)])
    assert (
        "The two peak at different moments: with 10.0 MiB live and with 1.00 MiB." in judged.reasons
    )


def test_measured_systems_are_ranked_and_compared_with_their_twin():
    results = [
        made("glibc", live=10, partial=1.1),
        made("glibc", "measured", live=10, partial=1),
        made("jemalloc", "measured", live=10, partial=3),
    ]
    judged = verdict(results)
    assert judged.winner is results[1]
    assert (
        "The twin of glibc says 11.1 MiB where the real one was measured at 11.0 MiB (+0.9 %)."
        in judged.reasons
    )


def test_the_best_real_system_is_named_when_a_twin_wins():
    judged = verdict(
        [
            made("best-fit", live=10),
            made("glibc", "measured", live=10, partial=10),
            made("jemalloc", "measured", live=10, partial=6),
        ]
    )
    assert (
        "Of the real allocators measured, jemalloc holds the least: "
        "16.0 MiB, 20 % below real glibc." in judged.reasons
    )


def test_who_refused_requests_cannot_win():
    small, large = made("a", live=1, refused=1), made("b", live=9)
    judged = verdict([small, large])
    assert judged.winner is large
    assert "a ran out of memory and is not ranked." in judged.reasons
    assert ranked([small, large]) == [large, small]


def test_no_result_no_winner():
    assert verdict([]).winner is None


def test_quantities():
    assert [bytes_text(n) for n in (0, 999, 1000, 10240, 5 << 30)] == [
        "0 B",
        "999 B",
        "0.98 KiB",
        "10.0 KiB",
        "5.00 GiB",
    ]
    assert [count_text(n) for n in (7, 1234, 12_345_678)] == ["7", "1.23 k", "12.3 M"]
    assert [percent_text(n) for n in (0.004, 0.05, 0.123)] == ["0.4 %", "5 %", "12 %"]
