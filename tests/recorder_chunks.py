"""A chunk of the recorder's log, as recorder.c would write it."""

from heapwright.trace.recorder.log import (
    BASE_BELOW,
    FREE,
    LEAST_BASE,
    MALLOC,
    MEMALIGN,
    NEAR,
    NEAR_FREE,
    SHORT,
    SLOTS,
    STEERED,
    SYNC,
)


class Chunk:
    """Near records where they can be: next to the last one's number, of known callers."""

    def __init__(self) -> None:
        self.halves: list[int] = []
        self.synced = self.last = -1
        self.base, self.slots = 0, {}

    def long(self, *words):
        if len(self.halves) % 2:
            self.halves.append(STEERED)
        self.halves += [word >> shift & 0xFFFFFFFF for word in words for shift in (0, 32)]

    def sync(self, thread, number):
        self.long(thread << 4 | SYNC, number, 10**9 + number)
        self.synced, self.last = number, -1

    def add(self, number, words):
        op, address = words[0] & 15, words[0] >> 1 & 0x7FFFFFFFFFF8
        near = address - self.base
        follows = self.last == number - 1 and self.slots and near % 16 == 0
        is_short = op in range(MALLOC + SHORT, MEMALIGN + SHORT)
        caller = words[1] >> 16 if is_short else 0
        if follows and op == FREE:
            self.halves.append(near | NEAR_FREE)
        elif follows and self.slots.get(caller % SLOTS) == caller > 0:
            kind = op - SHORT - MALLOC + 1
            high = words[1] & 0xFFFF | caller % SLOTS << 16 | kind << 30
            self.halves += [near | NEAR, high]
        else:
            self.long(*words)
            if is_short:
                self.slots[caller % SLOTS] = caller
                self.base = max(address - BASE_BELOW, LEAST_BASE)
        self.last = number
