"""What is assumed of program and machine while a trace is replayed.

touch        what the program writes: all, none, or, where the trace tells it, as recorded
huge_pages   what the machine gives: never, madvise, always
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.trace.schema import LARGE_BYTES, SIZE_LIMIT
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.managers.registry import Manager
    from heapwright.trace.store import Trace

# What the program writes of the memory it allocates: blocks below so many bytes are written whole;
# larger ones as the trace tells, where it does.
TOUCH = {"none": 0, "all": SIZE_LIMIT, "recorded": LARGE_BYTES}
CLOCK_STEP_NS = 1000  # from one event to the next, where a trace knows no time
HUGE_PAGES = ("never", "madvise", "always")  # /sys/kernel/mm/transparent_hugepage/enabled


@dataclass(frozen=True)
class Conditions:
    """What is assumed of program and machine, the same for every manager of a comparison."""

    touch: str = "all"  # one of TOUCH
    huge_pages: str = "never"

    @classmethod
    def of(
        cls, trace: "Trace", touch: str | None = None, huge_pages: str = "never"
    ) -> "Conditions":
        """Those for `trace`: where nothing else is asked for, what the program wrote as recorded,
        if the trace tells it. HeapwrightError where it is asked for and the trace does not."""
        if touch == "recorded" and not trace.written_known:
            raise HeapwrightError(
                f"{trace.path} does not tell what was written of large blocks, or has none: record "
                "it again, or leave --touch recorded out."
            )
        return cls(touch or ("recorded" if trace.written_known else "all"), huge_pages)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("touch", self.touch, TOUCH),
            ("huge_pages", self.huge_pages, HUGE_PAGES),
        ):
            if value not in known:
                raise HeapwrightError(f"{name} is one of {', '.join(known)}, not {value!r}.")

    def kept_of(self, trace: "Trace") -> dict[str, str]:
        """What a result keeps of them; of a device nothing: nobody writes its pages."""
        return {} if trace.origin.get("device") else dict(vars(self))

    def said_of(self, trace: "Trace") -> list[str]:
        """The same in words."""
        return [] if trace.origin.get("device") else self.sentences()

    def sentences(self) -> list[str]:
        """The assumptions in words."""
        written = (
            "Assumes that the program writes all that it allocates, except fresh calloc pages."
        )
        if self.touch == "recorded":
            written = (
                "Written as recorded: of blocks of 64 KiB and more the pages that the program was "
                "seen to have written, smaller ones whole."
            )
        elif self.touch == "none":
            written = (
                "Assumes that the program writes nothing: only pages that the manager itself "
                "writes are resident."
            )
        return [written, f"Transparent huge pages: {self.huge_pages}."]


def room_text(manager: "Manager", settings: dict[str, int]) -> str:
    """What a manager has to give: a memory of its own, where a knob says how much."""
    config = manager.configured(settings)
    for knob in (manager.card.limit_knob, "memory_bytes", "range_bytes"):
        if size := getattr(config, knob, 0) if knob else 0:
            return f"its {knob} is {bytes_text(size)}"
    return f"the address space is {SPACE_BYTES >> 30} GiB"


def columns_of(loop: Any, trace: "Trace") -> tuple[str, ...]:
    """The columns that a loop replays of a trace. A collector's reads references in `field`, where
    a kernel's trace has its doors: without a graph it gets none."""
    if trace.graph or "target" not in loop.COLUMNS:
        return tuple(loop.COLUMNS)
    return tuple(each for each in loop.COLUMNS if each not in ("field", "target"))
