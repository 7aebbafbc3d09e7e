"""A lock that real threads wait for asleep: one word of an int64 array.

    0 free │ 1 held │ 2 held, and somebody may sleep until it is released (futex)

Source     Drepper, "Futexes are tricky", section 5
"""

from heapwright.compiler.atomics import compare_and_swap, exchange, pause
from heapwright.compiler.compiled import kernel
from heapwright.compiler.hints import unlikely
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import FUTEX, system_call

FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
SPINS = 64  # looks before a thread goes to sleep


@kernel(inline=True)
def lock(words, index):
    """Take the lock, waiting while another thread holds it."""
    if unlikely(not compare_and_swap(words, index, 0, 1)):
        _wait(words, index)


@kernel(cold=True)
def _wait(words, index):
    """Look for a while, then sleep until the lock is ours."""
    for _ in range(SPINS):
        pause()
        if compare_and_swap(words, index, 0, 1):
            return
    while exchange(words, index, 2):
        place = real_address(words) + 8 * index
        system_call(FUTEX, place, FUTEX_WAIT_PRIVATE, 2)


@kernel(inline=True)
def unlock(words, index):
    """Release the lock, and wake one who sleeps."""
    if unlikely(exchange(words, index, 0) == 2):
        _wake(words, index)


@kernel(cold=True)
def _wake(words, index):
    """Wake one thread that waits."""
    system_call(FUTEX, real_address(words) + 8 * index, FUTEX_WAKE_PRIVATE, 1)
