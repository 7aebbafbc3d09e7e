"""Who wins, and which sentences say why."""

from heapwright.insight.verdict import present, ranked, verdict
from heapwright.result import PARTS, Result, Spread
from heapwright.words import (
    bytes_text,
    change_text,
    count_text,
    digits,
    duration_text,
    percent_text,
)


def made(manager, kind="twin", seconds=1.0, **mebibytes):
    """A result from its parts in MiB."""
    refused, settings = mebibytes.pop("refused", 0), mebibytes.pop("settings", {})
    end = mebibytes.pop("end", None)  # resident, 1 MiB of it live
    within = int(mebibytes.pop("within", 0) * 2**20)
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
        high_water_bytes=peak["resident_bytes"] + within if within else 0,
        settings=settings,
        refused=refused,
        end={} if end is None else {"resident_bytes": int(end * 2**20), "live_bytes": 2**20},
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
    assert "It replayed 5.00 M events/s; the fastest, glibc, 10.0 M." in judged.reasons


def test_glibc_as_the_winner():
    judged = verdict([made("glibc", live=10), made("buddy", live=10, rounding=5)])
    assert judged.headline == (
        "glibc already holds the least: 10.0 MiB at its peak. "
        "buddy, the next, would hold 50 % more."
    )


def test_speed_is_told_of_two_and_not_of_one_alone():
    slow, fast = made("glibc", live=10, seconds=2), made("buddy", live=20)
    said = "It replayed 500 k events/s; the fastest, buddy, 1.00 M."
    assert said in verdict([slow, fast]).reasons
    assert not any("events/s" in reason for reason in verdict([fast]).reasons)
    quick = "It is also the fastest: 1.00 M events/s."
    assert quick in verdict([made("glibc", live=10), made("b", live=20, seconds=2)]).reasons


def test_from_twice_as_much_on_a_multiple_is_told():
    twice = verdict([made("glibc", live=10), made("buddy", live=20)])
    assert twice.headline.endswith("buddy, the next, would hold 2.00 times as much.")


def test_a_small_difference_is_called_small():
    judged = verdict([made("glibc", live=10), made("buddy", live=9.95)])
    assert judged.headline.startswith("No change would help much: buddy holds the least")
    assert not any("Compared" in reason for reason in judged.reasons)


def test_no_difference_is_called_none():
    one = made("glibc", live=10, seconds=0.5, settings={"arena_max": 1})
    assert verdict([made("glibc", live=10), one]).headline == (
        "No change would help: glibc (arena_max=1) holds the least, 10.0 MiB at its peak, "
        "as much as glibc."
    )


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
            made("wright", live=10),
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


def test_a_copying_collector_is_ranked_by_what_it_holds_within_an_event():
    """At rest it holds less, while it copies more: the machine must have room for that."""
    copying = made("semispace", live=2, garbage=2, within=0.91)
    sliding = made("mark-compact", live=2, garbage=2.5)
    glibc = made("glibc", live=2, partial=4)
    judged = verdict([copying, sliding, glibc])
    assert ranked([copying, sliding]) == [sliding, copying]
    assert judged.winner is sliding
    assert "25 % less memory than glibc: 4.50 MiB instead of 6.00 MiB" in judged.headline
    alone = verdict([copying, glibc])
    assert "4.91 MiB instead of 6.00 MiB" in alone.headline
    assert alone.reasons[0].endswith(
        "932 KiB of it is held only within one event, as while a block or all objects are copied."
    )
    assert "932 KiB more in what is held only within one event" in alone.reasons[1]


def test_where_time_decides_the_most_of_the_range_is_judged():
    """A point of 10 MiB that may be 40 does not save anything against 20 that may be 30."""
    by_time = Spread(9, (8 * 2**20, 40 * 2**20), (3, 7))
    loose = made("go", live=10, settings={"gogc": 200})
    tight = made("go", live=20)
    loose.spread, tight.spread = by_time, Spread(9, (15 * 2**20, 30 * 2**20), (9, 12))
    assert ranked([loose, tight]) == [tight, loose]
    judged = verdict([loose, tight])
    assert judged.headline == (
        "go already holds the least: up to 30.0 MiB (as time decides, from 15.0 MiB) at its "
        "peak. go (gogc=200), the next, would hold 33 % more."
    )
    assert any("overlap: time may decide one run the other way" in r for r in judged.reasons)
    assert any("30.0 MiB and 40.0 MiB" in r for r in judged.reasons)
    assert judged.reasons[0].startswith(
        "In the course that is shown, at its peak of 20.0 MiB, 20.0 MiB of it (100 %) is live"
    )
    apart = verdict([made("linear", live=50), tight])
    assert not any("overlap" in reason for reason in apart.reasons)
    assert apart.headline.startswith("go would hold 40 % less memory than linear: up to 30.0 MiB")


def test_a_setting_is_judged_against_the_present_state_not_against_another_setting():
    now = made("glibc", live=10, partial=2)
    one = made("glibc", live=10, settings={"arena_max": 1})
    two = made("glibc", live=10, partial=0.1, settings={"arena_max": 2})
    judged = verdict([one, now, two])
    assert present([one, now, two]) is now
    assert judged.headline == (
        "MALLOC_ARENA_MAX=1 saves 17 %: glibc would hold 10.0 MiB instead of 12.0 MiB at the peak."
    )
    assert verdict([two, one, made("buddy", live=30), now]).headline == judged.headline


def test_a_setting_that_helps_is_told_though_another_manager_wins():
    now, buddy = made("glibc", live=10, partial=2), made("buddy", live=9)
    tuned = {"tcache_count": 0, "mxfast": 0}
    able = made("glibc", live=10, settings=tuned)
    judged = verdict([now, buddy, able])
    assert judged.winner is able
    assert judged.headline.startswith(
        "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0 saves 17 %"
    )
    assert (
        "In comparison: buddy, which explains and is not deployed, would hold 10 % less, 9.00 MiB."
        in judged.reasons
    )
    other = verdict([now, made("wright", live=9), able])
    assert other.headline == (
        "wright would hold 25 % less memory than glibc: 9.00 MiB instead of 12.0 MiB at the peak; "
        "LD_PRELOAD=/usr/local/lib/libwright.so gives it to the program."
    )
    assert (
        "Without another allocator, GLIBC_TUNABLES=glibc.malloc.tcache_count=0:"
        "glibc.malloc.mxfast=0 saves 17 %: 10.0 MiB instead of 12.0 MiB." in other.reasons
    )
    useless = made("glibc", live=10, partial=2.5, settings={"arena_max": 1})
    assert (
        "Of the settings of glibc that were tried none helps much: the best, MALLOC_ARENA_MAX=1, "
        "changes its peak by +4.2 %." in verdict([now, buddy, useless]).reasons
    )


def test_a_textbook_manager_wins_no_headline_where_another_can_be_deployed():
    now, best_fit = made("glibc", live=10, partial=2), made("best-fit", live=10)
    real = made("jemalloc", "measured", live=10, partial=1)
    judged = verdict([now, best_fit, real])
    assert judged.winner is real
    assert judged.headline.endswith("LD_PRELOAD=libjemalloc.so.2 gives it to the program.")
    worse = made("jemalloc", "measured", live=10, partial=4)
    assert verdict([now, best_fit, worse]).headline == (
        "glibc already holds the least of what can be deployed: 12.0 MiB at its peak. "
        "real jemalloc, the next, would hold 17 % more."
    )


def test_one_manager_alone_is_compared_with_itself_as_it_is():
    plain, set_ = made("wright", live=8), made("wright", live=4, settings={"interval": 3})
    assert verdict([set_, plain]).headline == (
        "interval=3 saves 50 %: wright would hold 4.00 MiB instead of 8.00 MiB at the peak."
    )


def test_the_present_state_measured_or_replayed_is_no_rival_to_itself():
    twin, real = made("glibc", live=10, partial=1.1), made("glibc", "measured", live=10, partial=1)
    jemalloc = made("jemalloc", "measured", live=10, partial=3)
    judged = verdict([twin, real, jemalloc])
    assert judged.headline == (
        "real glibc already holds the least: 11.0 MiB at its peak. "
        "real jemalloc, the next, would hold 18 % more."
    )


def test_parts_of_a_measured_system_are_those_of_its_twin_if_that_is_close():
    one = {"settings": {"arena_max": 1}}
    real = [
        made("glibc", "measured", live=10, partial=6),
        made("glibc", "measured", live=10, **one),
    ]
    twins = [made("glibc", live=10, cached=6.1), made("glibc", live=10.1, **one)]
    reasons = verdict([*real, *twins]).reasons
    assert "Compared with glibc it holds 6.10 MiB less in caches." in reasons
    far = [made("glibc", live=10, cached=7), twins[1]]
    reasons = verdict([*real, *far]).reasons
    assert any(
        "which parts make the difference to real glibc is known of twins" in r for r in reasons
    )


def test_who_carried_nothing_is_no_winner():
    assert verdict([made("a", live=1, refused=1)]).winner is None
    assert verdict([made("a")]).winner is None


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
    assert [bytes_text(n) for n in (999 << 40, 1 << 40, 999 << 30)] == [
        "999 TiB",
        "1.00 TiB",
        "999 GiB",
    ]
    assert [duration_text(n) for n in (999, 1000, 999_499, 999_500, 1.5e9)] == [
        "999 ns",
        "1.00 µs",
        "999 µs",
        "1.00 ms",
        "1.50 s",
    ]
    assert [count_text(n) for n in (999.4, 999.5, 999_499, 999_500, 4.2e9)] == [
        "999",
        "1.00 k",
        "999 k",
        "1.00 M",
        "4.20 G",
    ]
    assert [digits(n) for n in (0, 0.5, 9.994, 9.995, 99.94, 99.95, 12345)] == [
        "0",
        "0.50",
        "9.99",
        "10.0",
        "99.9",
        "100",
        "12,345",
    ]
    assert [percent_text(n) for n in (0.004, 0.05, 0.123)] == ["0.4 %", "5 %", "12 %"]
    assert [change_text(n) for n in (0.031, -0.17, 0.0001, 0)] == ["+3.1 %", "−17 %", "0 %", "0 %"]


def stays(*results):
    """The sentence about what stays."""
    (said,) = [reason for reason in verdict(results).reasons if "settled" in reason]
    return said


def test_what_stays_and_the_setting_that_leaves_least():
    trimmed = made("glibc", live=99, end=5, settings={"trim_threshold": 65536})
    assert stays(made("glibc", live=100, end=98.8), trimmed, made("buddy", live=60, end=2)) == (
        "Once the program has settled, 98.8 MiB stay with glibc, 1.00 MiB of it live; of what can "
        "be deployed, MALLOC_TRIM_THRESHOLD_=65536 leaves least: 5.00 MiB, 95 % less, though the "
        "peaks are alike."
    )


def test_what_stays_of_the_winner_of_the_peak_and_of_another():
    real = made("jemalloc", "measured", live=50, end=20)
    assert stays(made("glibc", live=100, end=90), real).endswith(
        "real jemalloc leaves least: 20.0 MiB, 78 % less, and it has the lowest peak too."
    )
    higher = made("jemalloc", "measured", live=150, end=20)
    assert stays(made("glibc", live=100, end=90), higher).endswith("78 % less (peak +50 %).")


def test_what_stays_where_nothing_deployable_leaves_less():
    said = "Once the program has settled, 5.00 MiB stay with glibc, 1.00 MiB of it live"
    glibc = made("glibc", live=10, end=5)
    assert stays(glibc, made("buddy", live=10, end=2)) == said + "."
    knob = made("glibc", live=10, end=4.99, settings={"arena_max": 1})
    nothing = "; nothing else that was tried and can be deployed leaves less."
    assert stays(glibc, knob) == said + nothing
    go = made("go", "measured", live=10, end=2)  # of no use to a program of malloc's
    assert stays(glibc, go) == said + "."
    twin = made("glibc", "measured", live=10, end=2)  # the same state: no alternative to it
    assert stays(glibc, twin) == said + "."


def test_what_stays_is_not_told_where_it_is_not_known():
    judged = verdict([made("glibc", live=10), made("buddy", live=9)])
    assert not any("settled" in reason for reason in judged.reasons)


def test_of_a_python_each_malloc_can_be_deployed_with_and_without_pythons_own_above():
    now = made("pymalloc over glibc", live=10, partial=2)
    now.runs_on = "pymalloc over glibc"
    alone = verdict(
        [now, made("glibc", live=10), made("pymalloc over mimalloc", live=10, partial=1)]
    )
    assert alone.winner.manager == "glibc"
    assert alone.headline.endswith("; PYTHONMALLOC=malloc gives it to the program.")
    preloaded = verdict([now, made("mimalloc", live=10)])
    assert "; PYTHONMALLOC=malloc LD_PRELOAD=libmimalloc" in preloaded.headline
    under = verdict([now, made("pymalloc over mimalloc", live=10)])
    assert "; LD_PRELOAD=libmimalloc" in under.headline
    explained = made("pymalloc over buddy", live=1)
    assert verdict([now, explained, made("mimalloc", live=10)]).winner.manager == "mimalloc"
