"""Reference objects as ordinary ones, as the real Go is told them."""

import numpy as np

from heapwright.references.go.driver import EVENT
from heapwright.references.ordinary import as_ordinary
from heapwright.trace.schema import FINALISABLE, NEW, REFER, SOFT, WRITE


def test_a_reference_holds_what_it_refers_to() -> None:
    told = np.zeros(3, EVENT)
    told["op"] = NEW, REFER, REFER
    told["size"] = 16, SOFT, FINALISABLE
    told["target"] = -1, 7, -1
    told["field"] = 1, 3, 3
    as_ordinary(told)
    assert told["op"].tolist() == [NEW, WRITE, REFER]
    assert told["target"].tolist() == [-1, 7, -1] and told["field"][1] == 0
