"""snmalloc as its authors published it in 2019: frees are messages, in batches."""

from heapwright.managers.card import Card

CARD = Card(
    summary="snmalloc as published in 2019: frees by message in batches; no live reference",
    compared=(),  # what was published is not what people deploy now
    flies=False,
    units={"remote_cache": "bytes", "remote_batch": "messages"},
    variants=({"remote_cache": 2048, "remote_batch": 3},),
)
