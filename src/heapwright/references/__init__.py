"""The real systems, driven on the same traces as their twins: found, measured, agreed with.

A reference is a package here with the names of `Reference`; a manager's card names the package that
drives its real counterpart.

    malloc    C's mallocs, each in a fresh process (drive.c), and timed in the replay loop
    go        the Go runtime (drive.go)
    hotspot   Java's virtual machine (Drive.java)
    cpython   pymalloc
    nginx     its slab allocator
    android   RosAlloc of ART, Doug Lea's malloc

`references()` finds the packages by their place.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heapwright.errors import HeapwrightError
from heapwright.managers.present import ran_on

if TYPE_CHECKING:
    from heapwright.managers.card import Deploy
    from heapwright.result import Footprint
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions

Settings = Mapping[str, int]
Progress = Callable[[int], None] | None  # told of the events that are done


class Agreement(Protocol):
    """What a twin and the real system agree on."""

    @property
    def agrees(self) -> bool:
        """Whether all is equal that must be."""

    @property
    def title(self) -> str:
        """What was compared."""

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""


class Reference(Protocol):
    """The names of a package that drives real systems."""

    def names(self) -> Iterable[str]:
        """The real systems that it knows, installed or not."""

    def missing(self, name: str) -> str:
        """What to install so that `name` can be driven; "" when nothing is missing."""

    def lanes(
        self, name: str, trace: Path, conditions: "Conditions", variants: Sequence[Settings]
    ) -> "list[Lane]":
        """A lane of a comparison for each of its settings; HeapwrightError when it cannot be."""

    def agree(
        self,
        name: str,
        trace: "Trace",
        settings: Settings | None,
        progress: Progress,
    ) -> Agreement:
        """The twin of this name beside the real system on `trace`."""


class Deployable(Reference, Protocol):
    """A reference whose systems a program can be given from outside: it has these names too."""

    def deployed(self, name: str) -> "Deploy":
        """How a program gets it, and what it can be told."""

    def footprint(
        self,
        name: str,
        trace: "Trace",
        settings: Settings,
        conditions: "Conditions",
        progress: Progress,
    ) -> "Footprint":
        """What the real one held for `trace`, in a fresh process, at the trace's own pace where it
        gives memory back by the clock and that takes no longer than a moment."""


def references() -> list[Reference]:
    """Every package here that drives real systems."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    packages = [reference(f"{__name__}.{one.name}") for one in found if one.ispkg]
    return [one for one in packages if hasattr(one, "names")]  # else it reads records alone


def reference(package: str) -> Reference:
    """The reference that a card names."""
    found: Any = importlib.import_module(package)
    return found


__all__ = ["Agreement", "Deployable", "Progress", "Reference", "reference", "references"]


def no_graph(trace: "Trace", who: str) -> None:
    """HeapwrightError of an object graph, given to a system that is asked for blocks: it names the
    runtime that the graph is of."""
    if trace.graph:
        known = trace.origin.get("python") or trace.java
        runtime = ran_on(trace) if known else "go"
        raise HeapwrightError(
            f"{trace.path} is an object graph, which {who} knows nothing of; validate {runtime} "
            "with it."
        )
