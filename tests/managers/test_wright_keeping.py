"""wright: memory that no block is in comes back, whichever thread is the one to see it."""

import pytest

from heapwright.machine.address_space import RESIDENT_PAGES
from heapwright.managers.malloc.wright import classes as sizes
from heapwright.managers.malloc.wright import state
from heapwright.trace.schema import THREAD_EXIT, TRIM
from trial import FREE, MALLOC, Trial

BLOCKS, SIZE = 1000, 200


def path(trial, name):
    return int(trial.heap.paths[state.PATHS.index(name)])


def used_bytes(trial):
    return int(trial.heap.fields[state.USED_PAGES]) * sizes.PAGE_BYTES


def handed_over(**knobs):
    """One thread has allocated, another has freed it all."""
    trial = Trial("wright", {"cache_bytes": 1024, **knobs})
    for slot in range(BLOCKS):
        trial.step(MALLOC, slot, SIZE, thread=0)
    for slot in range(BLOCKS):
        trial.step(FREE, slot, thread=1)
    trial.verify()
    return trial


def test_mail_that_nobody_collects_is_taken_to_the_spans():
    kept, mended = handed_over(mail_bytes=1 << 30), handed_over(mail_bytes=20_000)
    assert used_bytes(kept) >= BLOCKS * SIZE and path(kept, "settle") == 0
    assert used_bytes(mended) < BLOCKS * SIZE // 4
    assert path(mended, "settle") > 0 and path(mended, "retire") > 0


@pytest.mark.parametrize("mail_bytes", [1 << 30, 0])
def test_what_was_written_into_a_letter_is_no_fault_of_the_program(mail_bytes):
    trial = handed_over(mail_bytes=mail_bytes, hardened=1)
    for slot in range(BLOCKS):
        trial.step(MALLOC, slot, SIZE, thread=0)
    trial.step(TRIM, -1, thread=0)
    assert path(trial, "message") > 0 and trial.module.fatal(trial.heap) == ""


def test_the_owner_goes_on_with_what_is_left():
    """Blocks of a span that it had free ones of wait in its mailbox; whole spans are pages."""
    trial = Trial("wright", {"cache_bytes": 0, "remote_batch": 1, "mail_bytes": 0})
    for slot in range(200):
        trial.step(MALLOC, slot, SIZE, thread=0)
    for slot in range(0, 200, 2):
        trial.step(FREE, slot, thread=0)
    for slot in range(1, 200, 2):
        trial.step(FREE, slot, thread=1)
        trial.verify()
    assert used_bytes(trial) >= 200 * SIZE, "each span was listed at its owner"
    for slot in range(200):
        trial.step(MALLOC, slot, SIZE, thread=0)
        trial.verify()
    assert path(trial, "mail") > 0
    for slot in range(200):
        trial.step(FREE, slot, thread=1)
        trial.verify()
    assert path(trial, "retire") > 0


def test_a_span_of_a_thread_that_has_ended_is_retired_by_who_frees_last():
    trial = Trial("wright", {"cache_bytes": 0, "remote_batch": 1})
    for slot in range(100):
        trial.step(MALLOC, slot, SIZE, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    before = used_bytes(trial)
    for slot in range(100):
        trial.step(FREE, slot, thread=2)
        trial.verify()
    assert used_bytes(trial) == 0 < before
    assert path(trial, "adopt") == 0


@pytest.mark.parametrize("mail_bytes", [1 << 30, 0])
def test_trim_gives_back_what_lies_in_mailboxes_and_in_the_own_cache(mail_bytes):
    trial = handed_over(mail_bytes=mail_bytes)
    for thread in (1, 0):  # a program's malloc_trim empties its caller's cache first
        trial.step(TRIM, -1, thread=thread)
    trial.verify()
    assert used_bytes(trial) == 0
    assert int(trial.machine.meters[RESIDENT_PAGES]) == 0


@pytest.mark.parametrize("sizes_in_it", [(8, 200, 16, 8, 48, 8, 32, 16), (8,) * 8, (48,) * 8])
def test_a_letter_carries_as_many_as_it_has_room_for(sizes_in_it):
    """The first of 208 bytes all others; of 8 bytes none; of 48 bytes three."""
    trial = Trial("wright", {"cache_bytes": 0, "remote_batch": 8, "least_bytes": 8})
    for slot, size in enumerate(sizes_in_it):
        trial.step(MALLOC, slot, size, thread=0)
    for slot in range(len(sizes_in_it)):
        trial.step(FREE, slot, thread=1)
        trial.verify()
    assert path(trial, "message") == 1 and path(trial, "remote") == 8
    trial.step(TRIM, -1, thread=0)
    trial.verify()
    assert path(trial, "mail") == 1 and used_bytes(trial) == 0


def test_caches_that_lie_idle_are_emptied_as_the_thread_goes_on():
    trial = Trial("wright", {"look_bytes": 1 << 16})
    for size in (100, 1000, 10_000, 60_000, 100_000):
        for slot in range(16):
            trial.step(MALLOC, slot, size)
        for slot in range(16):
            trial.step(FREE, slot)
    assert path(trial, "look") > 0
    before = used_bytes(trial)
    for slot in range(3000):  # another size, and never an idle moment
        trial.step(MALLOC, slot, 2000)
    trial.verify()
    row = state.row_of(0)
    idle = [int(trial.heap.rows[row + each]) for each in range(1, trial.heap.classes.fields[1] + 1)]
    assert sum(word & state.ADDRESS > 0 for word in idle) <= 1, "that of 2,000 bytes"
    assert used_bytes(trial) < 3000 * 2048 + before // 8


def test_what_was_purged_and_wanted_again_is_kept():
    """A large block that comes and goes: purged once, kept from then on, given back once idle."""
    trial = Trial("wright", {"limit_bytes": 1 << 20, "limit_percent": 0, "interval_bytes": 1 << 22})
    kept = []
    for _ in range(6):
        trial.step(MALLOC, 0, 64 << 20)
        trial.step(FREE, 0)
        kept.append(int(trial.heap.fields[state.DIRTY_PAGES]) * sizes.PAGE_BYTES)
    assert kept[0] <= 1 << 20 and kept[-1] >= 63 << 20
    trial.verify()
    for round_ in range(400):
        for slot in range(64):
            trial.step(MALLOC, slot, 40_000 + round_)
        for slot in range(64):
            trial.step(FREE, slot)
    trial.verify()
    assert int(trial.heap.fields[state.DIRTY_PAGES]) * sizes.PAGE_BYTES < 16 << 20


def test_tiny_blocks_take_what_they_ask_for_where_that_is_wanted():
    taken = {}
    for least in (8, 16):
        trial = Trial("wright", {"least_bytes": least})
        trial.churn([(MALLOC, slot, 1 + slot % 8, 0) for slot in range(3000)])
        taken[least] = used_bytes(trial)
    assert taken[8] <= 3000 * 8 + 16384 < taken[16]


def test_an_interval_is_longer_where_what_was_purged_is_wanted_again():
    trial = Trial("wright", {"interval_bytes": 1 << 20, "retain_bytes": 0})
    patience = []
    for round_ in range(12):
        for slot in range(32 + 16 * round_):
            trial.step(MALLOC, slot, 300_000)
        for slot in range(32 + 16 * round_):
            trial.step(FREE, slot)
        for _ in range(40):
            trial.step(MALLOC, 0, 300_000)
            trial.step(FREE, 0)
            patience.append(int(trial.heap.fields[state.PATIENCE]))
    trial.verify()
    assert max(patience) > 0 and trial.heap.fields[state.WANTED_PAGES] > 0
