"""What Dalvik and ART share: the properties of a device that size a heap, and the heap's log.

properties  dalvik.vm.heapsize and its like, held to each other
history     what is to be logged: a row for each collection and for what led to it
"""
