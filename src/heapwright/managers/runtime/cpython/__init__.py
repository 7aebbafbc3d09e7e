"""CPython's objects: reference counts, and the collector of cycles behind them."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="CPython: reference counts with cascades, and the cycle collector of the version",
    serves=("graph",),
    compared=(),  # of a program that is not Python's it is a what-if
    versions=("3.11", "3.12", "3.13", "3.14", "3.14.5", "3.15"),
    version_of="python",
    reference="heapwright.references.cpython",
    units={"disable": "choice", "freeze_at": "objects"},
    deploy=Deploy(
        calls={
            "threshold0": "gc.set_threshold({})",
            "disable": "gc.disable()",
            "freeze_at": "gc.collect(); gc.freeze()",
        },
        tries=(
            {"threshold0": 5_000},
            {"threshold0": 20_000},
            {"threshold0": 100_000},
            {"disable": 1},
        ),
    ),
    variants=(
        {"threshold0": 20, "threshold1": 2, "version": 3_011_000},
        {"threshold0": 10, "version": 3_014_000},
    ),
)
