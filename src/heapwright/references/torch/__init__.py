"""PyTorch's caching allocator for CUDA, as a snapshot of a real GPU's memory tells of it.

agreement  the twin beside the addresses of the recording; nothing is driven: there is no GPU here
"""

from typing import TYPE_CHECKING

from heapwright.references.unmeasured import lanes, names

if TYPE_CHECKING:
    from heapwright.references import Agreement, Progress, Settings
    from heapwright.trace.store import Trace


__all__ = ["agree", "lanes", "missing", "names"]


def missing(name: str) -> str:
    """See `Reference`: the recording is all that is wanted."""
    return ""


def agree(
    name: str, trace: "Trace", settings: "Settings | None", progress: "Progress"
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.torch.agreement import validate

    return validate(trace, settings, progress=progress)
