"""What a flight does where its manager has no answer of its own: see managers/__init__.py."""

from heapwright.compiler import kernel


@kernel
def unknown_bytes(heap):
    """For a manager that does not count the pages in use."""
    return -1


@kernel
def nothing_idle(heap):
    """For a manager that does not count what a trim would give back."""
    return 0


@kernel
def nothing_to_say(heap, pointer):
    """For a manager that lets pointers be which it never gave."""


@kernel
def there_is_room(heap, thread):
    """For a manager whose tables have room for every thread."""
    return True


@kernel
def no_place(heap, thread):
    """For a manager that finds what belongs to a thread by its number."""
    return 0


@kernel
def nowhere(heap):
    """The same, of a thread that has ended."""
    return 0


@kernel
def nothing(heap):
    """For a manager without locks of its own: the one lock is held around a fork."""
