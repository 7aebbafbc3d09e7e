"""What a reference says whose systems are compared with their twins and measured as no program.

Their memory is a space of a runtime's or a server's, or an interpreter or virtual machine is around
it, or there is a recording alone.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwright.references import Settings
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none."""
    return []


def lanes(
    name: str, trace: Path, conditions: "Conditions", variants: "Sequence[Settings]"
) -> "list[Lane]":
    """See `Reference`: none."""
    return []
