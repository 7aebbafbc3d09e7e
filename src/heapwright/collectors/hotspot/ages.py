"""The age table: bytes of survivors by age, and the threshold at which they are promoted.

    threshold = the least age up to which more survives than TargetSurvivorRatio of a survivor
                space, at most MaxTenuringThreshold

Source     OpenJDK 17 src/hotspot/share/gc/shared/ageTable.cpp
"""

import numpy as np

from heapwright.compiler import kernel, unsigned

AGES = 17  # ages 0 to 15, and one more


def age_table() -> np.ndarray:
    """int64[AGES], bytes; nothing survived."""
    return np.zeros(AGES, np.int64)


@kernel
def clear_ages(ages):
    """Before a collection."""
    for age in range(AGES):
        ages[unsigned(age)] = 0


@kernel
def next_threshold(ages, space_bytes, target_percent, most):
    """The threshold for the next collection; `most` is MaxTenuringThreshold."""
    if most == 0 or most > 15:  # AlwaysTenure, NeverTenure
        return most
    wanted = (space_bytes >> 3) * target_percent // 100 << 3
    total, age = 0, 1
    while age < 16:
        total += ages[unsigned(age)]
        if total > wanted:
            break
        age += 1
    return min(age, most)
