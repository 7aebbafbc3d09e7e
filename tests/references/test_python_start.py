"""A Python that begins with a call of ours: it is made, and the program says what it came to."""

import os
import subprocess
import sys

from heapwright.references.python_start import started

PROGRAM = """
import gc, os
assert "HEAPWRIGHT_START" not in os.environ
print(gc.get_threshold()[0], gc.isenabled())
for _ in range(5):
    gc.collect()
"""


def ran(around, code, program=PROGRAM):
    with started(around, code) as (told, said):
        done = subprocess.run(
            [sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True
        )
    return done.stdout.split(), said


def test_the_call_is_made_before_the_program_begins():
    words, (one,) = ran(dict(os.environ), "gc.set_threshold(12345)")
    assert words == ["12345", "True"]
    assert 5 <= one.collections < 500
    assert 1 << 16 < one.outside_bytes < 64 << 20
    assert ran(dict(os.environ), "gc.disable()")[0][1] == "False"


def test_a_sitecustomize_of_the_programs_own_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['OWN'] = 'here'\n")
    around = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words, _ = ran(around, "", "import os; print(os.environ['OWN'])")
    assert words == ["here"]


def test_who_ends_at_once_says_nothing():
    assert ran(dict(os.environ), "", "import os; os._exit(0)")[1] == []
