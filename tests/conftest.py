"""Settings of the whole suite.

The suite runs three ways: compiled, HEAPWRIGHT_INTERPRET=1 (fewer examples) and
NUMBA_BOUNDSCHECK=1. `trial.py` drives managers step by step; `naive/` holds the oracles.
"""

import faulthandler
import os
import signal
import sys
from collections import Counter
from itertools import chain

# Numba paints the messages of errors that it throws away, thousands in each compilation.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

import pytest
from hypothesis import HealthCheck, settings

import plain_asserts  # noqa: F401 it works by being imported, before what it names
import worker_groups
from heapwright.compiler import INTERPRETED
from heapwright.managers import managers

# What is begun in the background of a shell ignores Ctrl-C, and so would the tests' commands.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # likewise under nohup

pytest_plugins = ["pytester"]

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=3 if INTERPRETED else 25,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("repeatable")


PATIENCE_SECONDS = 30  # beyond a test's limit, before its process is ended from outside Python
HASTE_SECONDS = 1  # before the limit, in a worker, whose stacks pytest-timeout writes to nowhere


def pytest_configure(config):
    """Keep the real stderr: while tests run, pytest catches what is written to it."""
    config.stderr_of_the_run = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """A bound on every test, also on one that holds the interpreter's lock for ever.

    pytest-timeout's thread ends a run whose kernel loops, since kernels let go of the lock. Code
    that does not is ended by faulthandler, whose watchdog is no thread of Python's. In a worker of
    xdist that one comes first: what pytest-timeout says of a worker nobody reads.
    """
    marker = item.get_closest_marker("timeout")
    asked = marker.args[0] if marker and marker.args else item.config.getoption("timeout", None)
    if asked:  # 0, as under a debugger, means no bound
        beyond = -HASTE_SECONDS if hasattr(item.config, "workerinput") else PATIENCE_SECONDS
        limit, stderr = max(1, float(asked) + beyond), item.config.stderr_of_the_run
        faulthandler.dump_traceback_later(limit, exit=True, file=stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_addoption(parser):
    parser.addoption(
        "--processor-time",
        type=int,
        default=0,
        metavar="N",
        help="name the N files and the N tests that take most processor time, their children's too",
    )


def _processor_seconds():
    """Used by this process and the children that it waited for; wall time tells of others too."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A report carries the processor time since the last one, from xdist's workers too."""
    report = yield
    now = _processor_seconds()
    spent = now - getattr(item.config, "processor_seconds", now)
    item.config.processor_seconds = now
    report.user_properties.append(("processor_seconds", spent))
    return report


def pytest_terminal_summary(terminalreporter, config):
    """The table of --processor-time, which the budget in CONTRIBUTING is kept by."""
    shown = config.getoption("processor_time")
    if not shown:
        return
    files, tests = Counter(), Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        spent = dict(getattr(report, "user_properties", ())).get("processor_seconds")
        if spent is not None:
            files[report.nodeid.split("::")[0]] += spent
            tests[report.nodeid] += spent
    terminalreporter.section(f"processor time: {files.total():.0f} s")
    for spent in (files, tests):
        for name, seconds in spent.most_common(shown):
            terminalreporter.write_line(f"{seconds:8.1f} s  {name}")


@pytest.fixture(scope="session")
def effort() -> int:
    """How much work a seeded test may do: 1 interpreted, 20 compiled."""
    return 1 if INTERPRETED else 20


def pytest_collection_modifyitems(items):
    """In an order that leaves no worker alone with much to do."""
    worker_groups.slow_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one manager go to one worker, which compiles it once; else those of a file."""
    return worker_groups.scheduler(config, log, set(managers()))
