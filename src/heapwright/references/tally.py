"""How much two systems agree: counts, shares and differences in the words of a table."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Tally:
    """How many were compared and how many were equal."""

    compared: int = 0
    equal: int = 0

    def add(self, equal: np.ndarray) -> None:
        """Count the rows of a boolean array."""
        self.compared += len(equal)
        self.equal += int(np.count_nonzero(equal))

    @property
    def share(self) -> float:
        """Equal among compared; 1 of nothing."""
        return self.equal / self.compared if self.compared else 1.0

    def row(self, label: str) -> tuple[str, str, str, str]:
        """A row of the table of agreement."""
        share = percent(self.equal, self.compared)
        return label, f"{self.equal:,} equal", f"of {self.compared:,}", share


def percent(equal: int, compared: int) -> str:
    """A share that says 100.00 % only when all are equal."""
    if not compared:
        return "none"
    if equal == compared:
        return "100.00 %"
    return f"{min(99.99, 100 * equal / compared):.2f} %"


def difference(twin: int, real: int) -> str:
    """How far the twin is from the real figure."""
    if twin == real:
        return "equal"
    return f"{100 * (twin - real) / real:+.2f} %" if real else "no real figure"


def first_difference(at: dict[str, int] | None) -> list[str]:
    """Where offsets first differ, as a sentence; none where they do not."""
    if not at:
        return []
    return [
        f"First difference at event {at['event']:,}: {at['twin']:,} (twin) and {at['real']:,} "
        "(real); -1 is refused."
    ]


def other_version(versions: tuple[str, str]) -> list[str]:
    """That the real one is of another version than the twin, as a sentence; none where not."""
    twin, real = versions
    if real.startswith(twin):
        return []
    return [f"The twin is of version {twin} and the real one here is {real}."]
