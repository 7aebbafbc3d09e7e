"""Who calls: threads of a program come, wait for the manager, fork and end.

A build binds a copy of this file to its manager, as it does with interface.py, which uses it. This
one is bound to the linear manager.
"""

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.compiler.process import (
    ENDED_THREAD,
    remember_thread_exit,
    set_thread_place,
    set_thread_word,
    thread_word,
)
from heapwright.flight.defaults import no_place, nothing, nowhere, there_is_room
from heapwright.flight.start import leave_the_program, start
from heapwright.flight.threads import (
    LOCK,
    NUMBERS_LOCK,
    STARTED,
    give_number,
    is_dead,
    lock_heap,
    take_number_back,
    thread_of_linux,
    unlock_heap,
)
from heapwright.flight.threads import NEXT as NUMBERS_OUT
from heapwright.structures.mutex import lock, unlock
from heapwright.tunnel import loop

manager = loop.manager
OWN_LOCKS = getattr(manager, "LOCKING", "") == "own"


thread_begins = getattr(manager, "thread_begins", there_is_room)
place_of = getattr(manager, "place_of", no_place)
nowhere_of = getattr(manager, "nowhere", nowhere)
heap_before_fork = getattr(manager, "fork_prepare", nothing)
heap_in_parent = getattr(manager, "fork_parent", nothing)
heap_in_child = getattr(manager, "fork_child", nothing)

if OWN_LOCKS:

    @kernel(inline=True)
    def enter(flight):
        """The manager locks by itself."""

    @kernel(inline=True)
    def leave(flight):
        """The manager holds no lock of ours."""
else:

    @kernel(inline=True)
    def enter(flight):
        """From here to `leave` the manager is this thread's alone."""
        lock_heap(flight.threads.gate)

    @kernel(inline=True)
    def leave(flight):
        """Let others at the manager."""
        unlock_heap(flight.threads.gate)


@kernel(inline=True)
def own_number(flight):
    """This thread's number."""
    thread = thread_word()
    return first_call(flight) if unlikely(thread < 0) else thread


@kernel(cold=True)
def first_call(flight):
    """A number for a thread that has none; the first of all finds the heap unmapped."""
    threads = flight.threads
    start(flight)
    lock(threads.gate, NUMBERS_LOCK)
    number = give_number(threads)
    if number == -2:
        bury_the_dead(flight)
        number = give_number(threads)
    if number >= 0 and not thread_begins(flight.heap, number):
        number = -1
    unlock(threads.gate, NUMBERS_LOCK)
    if number < 0:
        leave_the_program(flight)
    set_thread_word(number)
    set_thread_place(place_of(flight.heap, number))
    if number:  # the first is the program's own, which ends with it
        remember_thread_exit()
    return number


@kernel
def bury_the_dead(flight):
    """Take the numbers of threads that ended without a word."""
    threads = flight.threads
    for number in range(threads.gate[NUMBERS_OUT]):
        if is_dead(threads, number):
            exit_of(flight, number)
            take_number_back(threads, number)


@kernel
def exit_of(flight, number):
    """The manager's own part in a thread's end."""
    if OWN_LOCKS:
        loop.thread_exit(flight.heap, number)
    else:
        lock_heap(flight.threads.gate)
        loop.thread_exit(flight.heap, number)
        unlock_heap(flight.threads.gate)


@kernel
def thread_ends(flight, unused):
    """The exit hook: the thread's caches go back, its number is free."""
    number = thread_word()
    if number >= 0:
        exit_of(flight, number)
        set_thread_word(ENDED_THREAD)
        set_thread_place(nowhere_of(flight.heap))
        lock(flight.threads.gate, NUMBERS_LOCK)
        take_number_back(flight.threads, number)
        unlock(flight.threads.gate, NUMBERS_LOCK)


@kernel
def fork_prepare(flight):
    """Before a fork: nobody is in the middle of anything."""
    if flight.threads.gate[STARTED]:
        lock(flight.threads.gate, NUMBERS_LOCK)
        lock(flight.threads.gate, LOCK)
        heap_before_fork(flight.heap)


@kernel
def fork_parent(flight):
    """After a fork, in the parent."""
    if flight.threads.gate[STARTED]:
        heap_in_parent(flight.heap)
        unlock(flight.threads.gate, LOCK)
        unlock(flight.threads.gate, NUMBERS_LOCK)


@kernel
def fork_child(flight):
    """After a fork, in the child, which has one thread: who waited for a lock is not here."""
    if flight.threads.gate[STARTED]:
        heap_in_child(flight.heap)
        flight.threads.gate[LOCK] = 0
        flight.threads.gate[NUMBERS_LOCK] = 0
        flight.threads.owner[unsigned(max(thread_word(), 0))] = thread_of_linux()
