"""A real system that never ends is ended, in a sentence."""

import os
from functools import partial

import pytest

from heapwright.errors import HeapwrightError
from heapwright.references.bounded import bounded


def test_what_waits_for_ever_is_ended():
    with pytest.raises(HeapwrightError, match=r"the sleeper had not ended after 0\.1 seconds"):
        bounded(["sleep", "1000"], "the sleeper", 0.1)


def test_what_ends_says_how(tmp_path):
    done = bounded(["sh", "-c", "pwd; exit 3"], "a shell", before=partial(os.chdir, tmp_path))
    assert (done.returncode, done.stdout.strip()) == (3, str(tmp_path))
