"""A twin beside the real system on the same trace: every address, every usable size, the peaks.

    trace ─► twin       survey, placed            ─┐
          ─► real       a fresh process, placed   ─┼─► compared batch by batch
          ─► recording  address and slack columns ─┘

Key        the recorded addresses, where the recording knows them and where its heap began, and a
           fresh process must get them; else those that the real system returns in a fresh process
Equal      a block of the brk heap, or of one that is mapped from its first block's segment on, or
           from where the process maps first: the same offset from the heap's start. Any other is
           outside it in both, of the same usable size, and if a further arena's at the same offset
           in its 64 MiB heap, if mapped on its own at the same offset in its page
Random     a block aligned beyond a page and mapped on its own: how far into its area it lies, and
           so its usable size, is where Linux put the area. It is counted and not compared
Source     ASLR moves the heap's start and nothing within it, and both heaps start where the
           recorded one did modulo 16 MiB (BREAK_BASE), so that alignments up to there come out
           alike; glibc aligns heaps to their size (HEAP_MAX_SIZE) and maps whole pages; a mapped
           chunk has two words of its own, any other lends its last to its owner, so usable sizes
           are 0 and 8 modulo 16
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import (
    BREAK_LIMIT,
    FAULTS,
    FIRST_BREAK,
    PEAK_MAPPED_BYTES,
    PEAK_RESIDENT_PAGES,
)
from heapwright.managers.registry import named
from heapwright.references import no_graph
from heapwright.references.malloc import libc, systems
from heapwright.references.malloc.causes import at_once
from heapwright.references.malloc.harness import Drive
from heapwright.references.malloc.places import Blocks, equal, first_area
from heapwright.references.tally import Tally, difference, percent
from heapwright.tunnel.conditions import CLOCK_STEP_NS
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.tunnel.steered import of_version
from heapwright.versions import version_number, version_text
from heapwright.words import bytes_text, counted, setting_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "align", "thread", "address", "slack")
PAGE_SHIFT = 12
LATE = version_number("2.43")  # of glibc: see `places`
MANY_DIGITS = 16  # no such count of a process is longer


@dataclass
class Agreement:
    """What a twin and the real system agree on."""

    manager: str
    events: int
    threads: int
    key: str  # "recorded", or "driven" in a fresh process
    addresses: Tally = field(default_factory=Tally)
    usable_sizes: Tally = field(default_factory=Tally)
    outside: Tally = field(default_factory=Tally)  # of the addresses: blocks outside the brk heap
    statistics: Tally = field(default_factory=Tally)  # what the library says of itself at the end
    repeats: Tally = field(default_factory=Tally)  # recorded addresses that the real one repeats
    random: int = 0  # blocks whose place is up to Linux, not compared
    cause: str = ""  # why the first difference may be no fault of the twin; "" where none is known
    inherited: bool = False  # the recorded heap was not empty at the start: its key is not exact
    first_difference: dict[str, int | str] | None = None  # event, and what each says there
    resident: tuple[int, int] = (0, 0)  # bytes at the peak: twin, real
    mapped: tuple[int, int] = (0, 0)
    page_faults: tuple[int, int] = (0, 0)
    settings: dict[str, int] = field(default_factory=dict)
    recorded: dict[str, int] = field(default_factory=dict)  # settings that the recording brought
    ignored: list[str] = field(default_factory=list)  # sentences on settings that neither takes
    touch: str = "all"  # what the program writes: see Conditions
    left_out: int = 0  # what the twin has no answer to: mallopt, malloc_trim, sbrk
    program: tuple[int, int] | None = None  # resident bytes and page faults of the recorded one
    versions: tuple[str, str] = ("", "")  # of the twin and of the real system that was driven
    notes: list[str] = field(default_factory=list)  # on the twin's version

    @property
    def agrees(self) -> bool:
        """Whether every address, usable size and figure of its own statistics is equal."""
        tallies = (self.addresses, self.usable_sizes, self.statistics)
        return all(t.compared == t.equal for t in tallies)

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.manager} on {counted(self.events, 'event')}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        found = [
            self.addresses.row("addresses"),
            self.outside.row("  outside the brk heap"),
            self.usable_sizes.row("usable sizes"),
        ]
        for label, (twin, real), text in (
            ("resident at the peak", self.resident, bytes_text),
            ("mapped at the peak", self.mapped, bytes_text),
            ("page faults", self.page_faults, "{:,}".format),
        ):
            found.append((label, text(twin), text(real), difference(twin, real)))
        if self.statistics.compared:
            found.append(self.statistics.row("its own statistics"))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        source = "the addresses that the recording kept"
        if self.key != "recorded":
            source = "the real system in a fresh process"
        said = [f"Addresses and usable sizes are compared with {source}."]
        if self.repeats.compared and self.repeats.equal < self.repeats.compared:
            share = percent(self.repeats.equal, self.repeats.compared)
            said.append(f"The real system itself repeats {share} of the recorded addresses.")
        if self.first_difference:
            at = self.first_difference
            said.append(
                f"First difference at event {at['event']:,}: {at['twin_place']} (twin) and "
                f"{at['real_place']} (real)."
            )
            if self.cause:
                said.append(self.cause)
        return said + self._of_the_recording()

    def _of_the_recording(self) -> list[str]:
        """What was done as in the recording, and what cannot be."""
        said = []
        if self.program:
            held, faults = self.program
            wrote = "what it wrote of its blocks is its own affair; "
            if self.touch == "recorded":
                wrote = "both write of large blocks what it was seen to have written; "
            said.append(
                f"The recorded program itself held {bytes_text(held)} more at its peak than at its "
                f"first request, and took {faults:,} page faults from there on; {wrote}its "
                "code, stacks and the recorder count in."
            )
        if self.recorded:
            texts = {knob: setting_text(knob, value) for knob, value in self.recorded.items()}
            knobs = ", ".join(f"{knob}={text}" for knob, text in texts.items())
            said.append(f"Both are set as recorded: {knobs}.")
        said += self.ignored
        if self.inherited:
            said.append(
                "The recorded heap was not empty at the start, as of a process that was forked: "
                "its addresses are no key for a fresh process."
            )
        if self.random:
            said.append(
                f"{self.random:,} blocks aligned beyond a page and mapped on their own are not "
                "compared: where in its area such a block begins is up to Linux, at random. The "
                "mmap threshold adapts to those that are freed, and so to chance."
            )
        if self.left_out:
            said.append(f"The twin passed over {self.left_out:,} calls that steer the allocator.")
        twin, real = self.versions
        if twin and real and twin != real:
            said.append(f"The twin is of version {twin} and the real system here is {real}.")
            if self.manager == "glibc":
                said.append(libc.MEND)
        return said + self.notes

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def tally(each: Tally) -> dict[str, int]:
            return {"compared": each.compared, "equal": each.equal}

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": self.manager,
            "events": self.events,
            "addresses": tally(self.addresses),
            "usable_sizes": tally(self.usable_sizes),
            "statistics": tally(self.statistics),
            "resident_bytes_peak": both(self.resident),
            "mapped_bytes_peak": both(self.mapped),
            "page_faults": both(self.page_faults),
            "recorded_program": self.program
            and {"resident_bytes_peak": self.program[0], "page_faults": self.program[1]},
            "threads": self.threads,
            "key": self.key,
            "outside_heap": tally(self.outside),
            "recorded_addresses_repeated": tally(self.repeats),
            "random_places": self.random,
            "first_difference": self.first_difference,
            "cause": self.cause,
            "settings": self.settings,
            "recorded_settings": self.recorded,
            "versions": both(self.versions),
            "notes": self.notes,
        }


def validate(
    manager: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    counterpart: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and the real system and compare.

    `settings` are knobs that both get; the recorded addresses, made without them, are then no key.
    `progress` is told the events compared so far. HeapwrightError for a manager without a real
    counterpart, and when the real system or a compiler is missing.
    """
    no_graph(trace, f"the real {manager}")
    settings = dict(settings or {})
    conditions = Conditions.of(trace)
    twin = Replay(manager, trace, settings, conditions)
    name = counterpart or manager
    tunables = {**twin.recorded, **settings}
    if named(manager).card.version_of and "version" not in settings:
        tunables["version"] = twin.version
        if not systems.reachable(name, twin.version):
            del tunables["version"]
    recorded = trace.kind == "recording" and trace.has_addresses and trace.heap_start > 0
    recorded = recorded and named(manager).card.recorded  # else they are another malloc's
    key = "recorded" if recorded and trace.exact_addresses and not settings else "driven"
    found = Agreement(
        manager,
        trace.events,
        trace.threads,
        key,
        settings=settings,
        recorded=twin.recorded,
        ignored=twin.ignored,
        touch=conditions.touch,
        program=None if settings else _of_the_program(trace),
        inherited=recorded and not trace.exact_addresses,
        versions=(version_text(twin.version), systems.version(name, tunables)),
        notes=of_version(twin.manager, trace, twin.chosen),
    )
    ledger = twin.ledger()
    start = getattr(twin.module, "ZONE_START", int(twin.heap.machine.meters[FIRST_BREAK]))
    origin = getattr(twin.module, "ORIGIN_BYTES", 0)  # of one that maps its heap
    seen = 0
    late = name == "glibc" and twin.version >= LATE
    clocked = getattr(twin.loop, "CLOCKED", False)  # else the clock stands still
    with Drive(
        name,
        trace,
        placed=True,
        touch=conditions.touch,
        tunables=tunables,
        tick_ns=CLOCK_STEP_NS if clocked else 0,
    ) as drive:
        if hasattr(twin.module, "seed"):
            twin.module.seed(twin.heap, drive.seeds)
            start, drive.heap_start = BREAK_LIMIT, BREAK_LIMIT + drive.origin
        for batch in trace.batches(columns=(*COLUMNS, "time_ns") if clocked else COLUMNS):
            placed = np.zeros((len(batch.op), 2), np.int64)
            twin.loop.survey(twin.heap, twin.run, batch, ledger, placed)
            real = drive.replay(batch)
            if origin:
                if not seen:
                    start = drive.heap_start = first_area(real[:, 0], origin)
                offsets = twin.module.offsets(twin.heap, placed[:, 0])
                placed[:, 0] = np.where(offsets >= 0, offsets + start, placed[:, 0])
            driven = kept = Blocks(real[:, 0], real[:, 1], drive.heap_start, late)
            random = np.zeros(len(batch.op), bool)
            if len(batch.align):
                random = (batch.align > PAGE_SHIFT) & driven.mapped
            if recorded and not settings:
                known = batch.slack >= 0
                usable = np.where(known, batch.size + batch.slack, -1)
                kept = Blocks(batch.address, usable, trace.heap_start, late)
                present = (kept.address != 0) & (driven.address != 0) & ~random
                found.repeats.add(equal(kept, driven)[present])
            _compare(
                found,
                Blocks(placed[:, 0], placed[:, 1], start, late),
                kept if found.key == "recorded" else driven,
                random,
                seen,
            )
            seen += len(batch.op)
            if progress:
                progress(seen)
        footprint = drive.finish()
    meters = twin.heap.machine.meters
    found.resident = (
        int(meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES,
        footprint.high_water_bytes,
    )
    found.page_faults = (int(meters[FAULTS]), footprint.page_faults)
    found.left_out = int(twin.run.progress[twin.loop.PASSED_OVER])
    if found.first_difference and trace.threads > 1 and key == "recorded":
        found.cause = at_once(trace, int(found.first_difference["event"]))
    found.mapped = (int(meters[PEAK_MAPPED_BYTES]), footprint.mapped_bytes_peak)
    if footprint.told and hasattr(twin.module, "statistics"):
        told = list(twin.module.statistics(twin.heap).values())
        found.statistics.add(np.array(told) == np.array(footprint.told))
    return found


def _compare(found: Agreement, twin: Blocks, key: Blocks, random: np.ndarray, start: int) -> None:
    """Enter a batch whose first event is `start`, without the places that are `random`."""
    present = ((key.address != 0) | (twin.address != 0)) & ~random
    found.random += int(np.count_nonzero(random))
    same = equal(twin, key)
    found.addresses.add(same[present])
    found.outside.add(same[present & (key.offset < 0)])
    sized = present & (key.usable >= 0) & (key.address != 0)
    found.usable_sizes.add((twin.usable == key.usable)[sized])
    if found.first_difference is None:
        differs = present & (~same | (sized & (twin.usable != key.usable)))
        if differs.any():
            row = int(differs.argmax())
            found.first_difference = {
                "event": start + row,
                "twin_offset": int(twin.offset[row]),
                "real_offset": int(key.offset[row]),
                "twin_usable": int(twin.usable[row]),
                "real_usable": int(key.usable[row]),
                "twin_place": twin.place(row),
                "real_place": key.place(row),
            }


def _of_the_program(trace: "Trace") -> tuple[int, int] | None:
    """Resident bytes and page faults that the recorded program itself took since its first request,
    as the kernel counted; None where the recording does not tell."""
    told = [
        trace.origin.get(f"{when}{what}", "")
        for what in ("resident_bytes", "page_faults")
        for when in ("start_", "")
    ]
    if not all(each.isdecimal() and len(each) < MANY_DIGITS for each in told):
        return None
    before, peak, faults_before, faults = map(int, told)
    return max(peak - before, 0), max(faults - faults_before, 0)
