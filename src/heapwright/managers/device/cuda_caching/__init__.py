"""PyTorch's caching allocator for CUDA: which setting would have avoided an out-of-memory error?"""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="PyTorch's CUDA caching allocator over a device, with its settings",
    compared=(),  # but on snapshots of a device: see registry.usual
    reference="heapwright.references.torch",
    recorded=True,
    flies=False,
    deploy=Deploy(
        tunables={
            "max_split_size_mb": "max_split_size_mb",
            "roundup_power2_divisions": "roundup_power2_divisions",
            "expandable_segments": "expandable_segments",
            "garbage_collection_threshold": "garbage_collection_threshold",
        },
        flags=("expandable_segments",),
        shares=("garbage_collection_threshold",),
        words=("False", "True"),
        variable="PYTORCH_CUDA_ALLOC_CONF",
        equals=":",
        between=",",
    ),
    units={
        "capacity_mb": "MiB",
        "max_split_size_mb": "MiB",
        "garbage_collection_threshold": "%",
        "per_process_memory_fraction": "%",
    },
    variants=(
        {"capacity_mb": 64, "expandable_segments": 1},
        {
            "capacity_mb": 128,
            "max_split_size_mb": 21,
            "garbage_collection_threshold": 50,
            "per_process_memory_fraction": 80,
            "roundup_power2_divisions": 4,
        },
    ),
)
