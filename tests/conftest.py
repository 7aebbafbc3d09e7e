"""Settings of the whole suite.

The suite runs three ways: compiled, HEAPWRIGHT_INTERPRET=1 (fewer examples) and
NUMBA_BOUNDSCHECK=1. `trial.py` drives managers step by step; `naive/` holds the oracles.
"""

import signal

import pytest
from hypothesis import HealthCheck, settings

from heapwright.compiler import INTERPRETED
from heapwright.managers import managers

# What is begun in the background of a shell ignores Ctrl-C, and so would the tests' commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=3 if INTERPRETED else 25,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def effort() -> int:
    """How much work a seeded test may do: 1 interpreted, 20 compiled."""
    return 1 if INTERPRETED else 20


def pytest_collection_modifyitems(items):
    """Tests of one manager go to one worker, which compiles it once; else those of a file."""
    known = managers()
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        own = item.path.stem.removeprefix("test_").replace("_", "-")
        named = [parameters.get("name"), parameters.get("manager"), own]
        group = next((name for name in named if name in known), item.nodeid.split("::")[0])
        item.add_marker(pytest.mark.xdist_group(group))
