"""CPython's objects: reference counts, and the collector of cycles behind them."""

from heapwright.managers.card import Card

CARD = Card(
    summary="CPython: reference counts with cascades, and the cycle collector of the version",
    serves=("graph",),
    compared=(),  # of a program that is not Python's it is a what-if
    versions=("3.11", "3.12", "3.13", "3.14", "3.14.5", "3.15"),
    version_of="python",
    reference="heapwright.references.cpython",
    units={"disable": "choice", "freeze_at": "objects"},
    variants=(
        {"threshold0": 20, "threshold1": 2, "version": 3_011_000},
        {"threshold0": 10, "version": 3_014_000},
    ),
)
