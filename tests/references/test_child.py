"""A driver that says nothing any more is given up, in a sentence."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.references import child
from heapwright.references.malloc import rates


def test_one_that_says_nothing_is_ended(monkeypatch):
    monkeypatch.setattr(child, "SILENT_SECONDS", 0.1)
    with (
        pytest.raises(HeapwrightError, match=r"the real cat said nothing for 0\.1 seconds"),
        child.Child("real cat", Path(shutil.which("cat") or "cat"), {}) as driver,
    ):
        driver.send(np.arange(2))
        assert driver.receive(np.zeros(2, np.int64)).tolist() == [0, 1]
        driver.receive(np.zeros(1, np.int64))
    with pytest.raises(ProcessLookupError):
        os.kill(driver.pid, 0)


def test_a_measurement_that_does_not_end_is_given_up():
    with (
        pytest.raises(HeapwrightError, match="timing the real malloc had not ended after 3600"),
        rates._in_time("malloc"),
    ):
        raise TimeoutError
