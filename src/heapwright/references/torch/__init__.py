"""PyTorch's caching allocator for CUDA, as a snapshot of a real GPU's memory tells of it.

agreement  the twin beside the addresses of the recording; nothing is driven: there is no GPU here
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none can be driven."""
    return []


def missing(name: str) -> str:
    """See `Reference`: the recording is all that is wanted."""
    return ""


def lanes(
    name: str, trace: Path, conditions: "Conditions", variants: "Sequence[Settings]"
) -> "list[Lane]":
    """See `Reference`: none."""
    return []


def agree(
    name: str,
    trace: "Trace",
    settings: "Settings | None",
    progress: Callable[[int], None] | None,
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.torch.agreement import validate

    return validate(trace, settings, progress=progress)
