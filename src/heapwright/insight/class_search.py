"""The best size classes for given demands, by dynamic programming.

    least[k][j] = min over i < j of least[k - 1][i] + size[j] x (blocks of demands i + 1 to j)

Demands ascend by size; a class serves those from the class below up to its own. The cost is a Monge
array (sizes and numbers of blocks ascend), so the best i never falls as j grows, and a layer takes
demands x log(demands) steps by halving. A class of a size that no demand has is never better.

Source     Yao, "Efficient dynamic programming using quadrangle inequalities", STOC 1980
"""

import numpy as np

from heapwright.compiler import kernel, unsigned


@kernel
def _layer(least, sizes, blocks, chosen, stack):
    """Fill row 1 of `least` from row 0; `chosen` int32[demand] is the i of each j."""
    top = 0
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 1, len(sizes), 0, len(sizes)
    while top >= 0:
        low, high = stack[top, 0], stack[top, 1]
        first, last = stack[top, 2], stack[top, 3]
        top -= 1
        if low > high:
            continue
        j = (low + high) >> 1
        size, upto = sizes[unsigned(j - 1)], blocks[unsigned(j)]
        best, at = np.int64(-1), first
        for i in range(first, min(j - 1, last) + 1):
            before = least[0, unsigned(i)]
            if before < 0:
                continue
            cost = before + size * (upto - blocks[unsigned(i)])
            if best < 0 or cost < best:
                best, at = cost, i
        least[1, unsigned(j)] = best
        chosen[unsigned(j)] = at
        stack[top + 1, 0], stack[top + 1, 1] = low, j - 1
        stack[top + 1, 2], stack[top + 1, 3] = first, at
        stack[top + 2, 0], stack[top + 2, 1] = j + 1, high
        stack[top + 2, 2], stack[top + 2, 3] = at if best >= 0 else first, last
        top += 2


def best_classes(sizes: np.ndarray, blocks: np.ndarray, most: int) -> list[int]:
    """At most `most` sizes, so that the blocks of each demand, served by the least size that holds
    them, take as few bytes as possible. int64[demand] both, sizes ascending."""
    demands = len(sizes)
    if demands <= most:
        return [int(size) for size in sizes]
    sums = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
    sizes = np.ascontiguousarray(sizes, np.int64)
    least = np.full((2, demands + 1), -1, np.int64)
    least[0, 0] = 0
    chosen = np.zeros((most, demands + 1), np.int32)
    stack = np.zeros((128, 4), np.int64)  # twice the halvings of any number of demands
    for layer in range(most):
        least[1] = -1
        _layer(least, sizes, sums, chosen[layer], stack)
        least[0] = least[1]
    found, j = [], demands
    for layer in range(most - 1, -1, -1):
        found.append(int(sizes[j - 1]))
        j = int(chosen[layer, j])
    return sorted(found)
