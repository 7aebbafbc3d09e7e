"""How much a collection is expected to promote: HotSpot's padded exponential average.

    average = ((100 - w) average + w sample) / 100     w = 100 / n for the n-th, 10 at least
    padded  = average + 3 deviation                    the deviation leaves out samples of 0

In single precision, rounded after each operation, as the real one's.

Source     OpenJDK 17 src/hotspot/share/gc/shared/gcUtil.cpp: AdaptivePaddedNoZeroDevAverage
"""

import numpy as np

from heapwright.compiler import kernel, unsigned

LEAST_WEIGHT, PADDING = 10, 3
SAMPLES, AVERAGE, DEVIATION, PADDED, WORDS = range(5)  # float32[WORDS]; a count in the first


def padded_average() -> np.ndarray:
    """float32[WORDS] before the first sample."""
    return np.zeros(WORDS, np.float32)


@kernel
def _weighed(average, sample, weight):
    """The next average."""
    kept = np.float32(np.float32(100 - weight) * average)
    added = np.float32(np.float32(weight) * sample)
    return np.float32(np.float32(kept / np.float32(100)) + np.float32(added / np.float32(100)))


@kernel
def sample(average, value, least_weight=LEAST_WEIGHT):
    """A collection promoted `value` bytes."""
    x = np.float32(value)
    count = np.int64(average[unsigned(SAMPLES)]) + 1
    weight = max(least_weight, 100 // count)
    mean = _weighed(average[unsigned(AVERAGE)], x, weight)
    deviation = average[unsigned(DEVIATION)]
    if value:
        deviation = _weighed(deviation, np.float32(abs(np.float32(x - mean))), weight)
    average[unsigned(SAMPLES)] = np.float32(min(count, 1000))
    average[unsigned(AVERAGE)], average[unsigned(DEVIATION)] = mean, deviation
    average[unsigned(PADDED)] = np.float32(mean + np.float32(np.float32(PADDING) * deviation))


@kernel
def expected(average):
    """Bytes that the next collection may promote."""
    return np.int64(average[unsigned(PADDED)])
