"""A real Linux's allocators, as its own records tell of them: dumps and traces of a kernel.

dump     ordered free lists, scripted requests and answers, written by a module in the kernel
events   a recording of the kernel's trace events, decoded
frames   the page allocator's twin beside such a record, frame by frame
objects  the slab allocator's twin likewise, object by object
"""
