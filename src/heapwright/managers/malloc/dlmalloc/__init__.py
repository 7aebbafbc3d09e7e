"""Doug Lea's malloc 2.8.6, as Android's runtimes and WebAssembly's build it; exact."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Doug Lea's 2.8.6, as Android's heaps and WebAssembly build it; exact to the address",
    compared=(),  # it serves spaces within a program, and no Linux program's malloc
    versions=("2.8.6",),
    reference="heapwright.references.android",
    flies=False,
    units={"footprint_limit": "bytes", "granularity": "bytes", "trim_threshold": "bytes"},
    variants=({"word_bytes": 4, "space_bytes": 16384, "trim_threshold": 65536},),
)
