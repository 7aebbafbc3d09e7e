"""Parts of wright, the heap of `managers/wright.py`: size classes, page heap, spans, thread rows.

One way down: resizing ► caches ► mailboxes ► spans ► page_heap ► dirty ► state ► classes.
"""
