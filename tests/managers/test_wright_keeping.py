"""wright: memory that no block is in comes back, whichever thread is the one to see it."""

import pytest

from heapwright.machine.address_space import RESIDENT_PAGES
from heapwright.managers.malloc.wright import classes as sizes
from heapwright.managers.malloc.wright import state
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
    trial.module.thread_exit(trial.heap, 1)
    before = used_bytes(trial)
    for slot in range(100):
        trial.step(FREE, slot, thread=2)
        trial.verify()
    assert used_bytes(trial) == 0 < before
    assert path(trial, "adopt") == 0


@pytest.mark.parametrize("mail_bytes", [1 << 30, 0])
def test_trim_gives_back_what_lies_in_mailboxes_and_in_the_own_cache(mail_bytes):
    trial = handed_over(mail_bytes=mail_bytes)
    for thread in (1, 0):
        trial.module.empty_thread(trial.heap, thread)
    trial.module.trim(trial.heap, 0)
    trial.verify()
    assert used_bytes(trial) == 0
    assert int(trial.machine.meters[RESIDENT_PAGES]) == 0
