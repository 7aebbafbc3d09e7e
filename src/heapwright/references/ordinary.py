"""What a trace declares of its objects, told to a real system that clears no references.

A reference object is an ordinary one there, as it is to the twin beside it: its first field is
written, so that what it refers to lives. Other declarations hold nothing and mean nothing to it.
"""

import numpy as np

from heapwright.trace.schema import REFER, WRITE


def as_ordinary(packed: np.ndarray) -> None:
    """Let each REFER of `packed`, rows of an event's op, field and target, be the WRITE of its
    reference, in place."""
    refers = (packed["op"] == REFER) & (packed["target"] >= 0)
    packed["op"][refers], packed["field"][refers] = WRITE, 0
