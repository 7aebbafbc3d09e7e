"""What mimalloc 2 and 3 share: a thread's queues of pages, whose blocks are of one size each.

words    slices, pages' records and threads' heaps; what a manager's heap must have
classes  bins of requests; how large ones are rounded
blocks   a page's lists of free blocks; a block from the first page of its size
queues   queues of pages, and those that are retired

Where slices come from, and who may free what when, is each version's own.
"""
