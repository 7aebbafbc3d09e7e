"""wright: heapwright's own malloc, made to be the fastest at equal memory."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="our own: thread caches over thread-owned spans, mailboxes, a page heap",
    compared=("malloc", "graph"),
    deploy=Deploy(preload="heapwright build wright -o libwright.so"),
    variants=(
        {
            "cache_bytes": 0,
            "single_cache_bytes": 0,
            "remote_batch": 1,
            "steps": 4,
            "least_bytes": 8,
        },
        {"limit_bytes": 0, "limit_percent": 0, "span_bytes": 8192, "growth_bytes": 0},
        {
            "interval_bytes": 0,
            "retain_bytes": 0,
            "look_bytes": 0,
            "cache_bytes": 64,
            "remote_batch": 3,
            "mail_bytes": 100,
        },
        {"hardened": 1},
    ),
)
