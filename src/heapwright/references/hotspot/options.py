"""The options that make a JVM repeat itself, and those that stand for a twin's settings."""

from collections.abc import Mapping

from heapwright.errors import HeapwrightError

COLLECTORS = {
    "hotspot-serial": ("-XX:+UseSerialGC",),
    "hotspot-parallel": (
        "-XX:+UseParallelGC",
        "-XX:ParallelGCThreads=1",
        "-XX:-UseAdaptiveSizePolicy",
    ),
    "hotspot-g1": (
        "-XX:+UseG1GC",
        "-XX:ParallelGCThreads=1",
        "-XX:ConcGCThreads=1",
        "-XX:-ResizePLAB",
        "-XX:-UseTLAB",
        "-XX:-G1UseAdaptiveIHOP",
        "-XX:+UnlockExperimentalVMOptions",
    ),
}
COLLECTORS["hotspot-cms"] = (  # a cycle waits for the occupancy, and nothing wakes it before
    "-XX:+UseConcMarkSweepGC",
    "-XX:ParallelGCThreads=1",
    "-XX:ConcGCThreads=1",
    "-XX:-ResizePLAB",
    "-XX:+UseCMSInitiatingOccupancyOnly",
    "-XX:CMSWaitDuration=1000000000",
)
QUIET = (  # no compiler threads; soft references cleared at once, and counters on
    "-Xint",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:+UsePerfData",
    "-XX:+UnlockDiagnosticVMOptions",
)
SWITCHES = ("UseTLAB", "UseCompressedOops")
# What a replay cannot know of a JVM: told by the real one, not to it
TOLD = (
    *("version", "tlab_reserve_bytes", "table_offset_bytes", "finalizers_offset_bytes"),
    *("marking_work", "pause_base_us", "copied_bytes_per_us", "events_per_ms"),
)
REFINED = (
    20  # release from which on an option alone keeps G1 from refining cards beside the program
)
NO_REFINEMENT = [
    "-XX:-G1UseAdaptiveConcRefinement",
    *(f"-XX:G1ConcRefinement{zone}Zone=100000000" for zone in ("Green", "Yellow", "Red")),
]
SOFTLY = "SoftRefLRUPolicyMSPerMB"
UNSAFE = "--sun-misc-unsafe-memory-access=allow"  # from release 23 on


def flags(
    name: str, settings: Mapping[str, int], release: int, log: str, *, clocked: bool = False
) -> list[str]:
    """The command line of `java` but for the class; `settings` are all knobs of the twin. With
    `clocked` the trace's time says which soft references are cleared."""
    found = [*COLLECTORS[name], *QUIET]
    if release >= 23:
        found.append(UNSAFE)
    if name == "hotspot-g1":
        found.append("-Xshare:off")  # its own objects lie in no archive
        found += NO_REFINEMENT if release < REFINED else ["-XX:-G1UseConcRefinement"]
        if release < REFINED:
            found.append("-XX:-G1UsePreventiveGC")
    heap = settings["Xmx"]
    found += [f"-Xmx{heap}", f"-Xms{settings.get('Xms') or heap}"]
    if settings.get("Xmn"):
        found.append(f"-Xmn{settings['Xmn']}")
    for knob, value in settings.items():
        if knob in ("Xmx", "Xms", "Xmn", *TOLD) or knob.startswith("own_"):
            continue
        if knob == SOFTLY and not clocked:
            continue
        if knob in SWITCHES:
            found.append(f"-XX:{'+' if value else '-'}{knob}")
        elif knob == "TLABSize":
            if settings.get("UseTLAB"):
                found += [f"-XX:TLABSize={value}", "-XX:-ResizeTLAB"]
        elif value or knob not in ("PretenureSizeThreshold", "G1HeapRegionSize"):
            found.append(f"-XX:{knob}={value}")
    found.append(f"-Xlog:gc*=debug,gc=trace,gc+heap=debug,gc+age=trace:file={log}:none:filecount=0")
    return found


def refuse_told(name: str, settings: Mapping[str, int]) -> None:
    """HeapwrightError for a setting that the real JVM cannot be given."""
    for knob in settings:
        if knob.startswith("own_") or knob in TOLD[1:4]:
            raise HeapwrightError(
                f"{name}.{knob} is what the real JVM says of itself: leave it out to validate."
            )
