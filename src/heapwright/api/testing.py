"""A plugin of pytest: what a test allocates is recorded, and held to limits.

Imported by every pytest of whoever has heapwright, so it imports pytest alone until it is asked.

    @pytest.mark.heapwright(limit_resident="24 MiB", limit_leak="0 B", manager="glibc")
    pytest --heapwright          every test is recorded; the summary names those that hold most

Recorded is the call of the test function, not its fixtures. `limit_resident` bounds the most that
the test's own blocks hold resident under the manager, from an empty heap: a figure that repeats.
`limit_leak` bounds the bytes that the test function, or what it called, asked for and that are not
freed when it has returned and Python has collected its garbage.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heapwright.insight.growth import Moment
    from heapwright.trace.store import Trace

MOST_LINES = 5  # that a failure names
TELLING = 0.01  # of the bytes; a line with less is not named
MOST_TESTS = 10  # that the summary names
LIMITS = ("limit_resident", "limit_leak")
TAKEN = (*LIMITS, "manager")
_PROPERTY = "heapwright"


@dataclass
class Held:
    """What one test held, in bytes."""

    test: str
    manager: str
    resident_bytes: int  # at the peak
    live_bytes: int  # most at once
    leak_bytes: int
    peak_lines: list[tuple[str, int]] = field(default_factory=list)  # most first
    leak_lines: list[tuple[str, int]] = field(default_factory=list)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--heapwright` and what goes with it."""
    group = parser.getgroup("heapwright", "what tests allocate")
    group.addoption(
        "--heapwright", action="store_true", help="record every test; name those that hold most"
    )
    group.addoption(
        "--heapwright-manager",
        default="glibc",
        metavar="NAME",
        help="the malloc under which resident bytes are told (default: glibc)",
    )
    group.addoption(
        "--heapwright-json", metavar="FILE", help="write what was recorded of each test to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "heapwright(limit_resident=None, limit_leak=None, manager=None): record what the test "
        'allocates; fail where it holds more than a limit such as "24 MiB"',
    )
    config.pluginmanager.register(Summary(config), "heapwright-summary")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What pytest_pyfunc_call does not see is not recorded: a limit on it fails, and it counts."""
    if isinstance(item, pytest.Function) and not hasattr(item.cls, "assertEqual"):
        return
    said = "heapwright records test functions, not unittest.TestCase's or doctests."
    if item.get_closest_marker("heapwright"):
        pytest.fail(f"The marker heapwright is in vain: {said}", pytrace=False)
    if item.config.getoption("--heapwright") or item.config.getoption("--heapwright-json"):
        item.user_properties.append((_PROPERTY, {"error": said}))


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Record the call of a marked test, or of each."""
    marker = pyfuncitem.get_closest_marker("heapwright")
    asked = pyfuncitem.config.getoption("--heapwright") or pyfuncitem.config.getoption(
        "--heapwright-json"
    )
    if marker is None and not asked:
        yield
        return
    from heapwright.api.recording import recording
    from heapwright.errors import HeapwrightError

    limits, manager = _wishes(pyfuncitem, marker)
    with tempfile.TemporaryDirectory(prefix="heapwright-test-") as folder:
        gc.collect()
        outcome: Any = None
        try:
            with recording(Path(folder, "test.heap.parquet")) as here:
                outcome = yield
                gc.collect()
            if outcome.excinfo is not None:
                return
            held = held_by(here.trace, pyfuncitem, manager)
        except HeapwrightError as error:
            if outcome is None:  # it cannot be recorded: it is run all the same
                outcome = yield
            if marker is not None and outcome.excinfo is None:
                outcome.force_exception(pytest.fail.Exception(f"{error}", pytrace=False))
            pyfuncitem.user_properties.append((_PROPERTY, {"error": str(error)}))
            return
    pyfuncitem.user_properties.append((_PROPERTY, asdict(held)))
    if said := beyond(held, limits):
        outcome.force_exception(pytest.fail.Exception(said, pytrace=False))


def _wishes(item: pytest.Function, marker: pytest.Mark | None) -> tuple[dict[str, int], str]:
    """The limits in bytes, and the manager; the test fails for what a marker does not take."""
    from heapwright.errors import HeapwrightError
    from heapwright.quantities import parse_bytes

    given = dict(marker.kwargs) if marker else {}
    manager = given.pop("manager", None) or item.config.getoption("--heapwright-manager")
    unknown = sorted(set(given) - set(LIMITS))
    if unknown or (marker and marker.args):
        what = f"no {unknown[0]}" if unknown else "no argument without its name"
        pytest.fail(f"The marker heapwright takes {what}: give {', '.join(TAKEN)}.", pytrace=False)
    limits = {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            limits[name] = value if isinstance(value, int) else parse_bytes(str(value))
            if limits[name] < 0:
                raise HeapwrightError(f"{value} is less than nothing.")
        except HeapwrightError as error:
            said = f"The marker heapwright has a {name} that is no size: {error}"
            raise pytest.fail.Exception(said, pytrace=False) from None
    return limits, manager


def held_by(trace: Trace, item: pytest.Function, manager: str) -> Held:
    """What the test held, by its trace."""
    from heapwright.api.replaying import replay
    from heapwright.insight.growth import growth
    from heapwright.insight.why import peak_event
    from heapwright.managers.registry import runs_on
    from heapwright.trace.ending import ending

    now = runs_on(python=bool(trace.python))
    above, over, _ = now.rpartition(" over ")
    name = manager if over in manager and over else f"{above}{over}{manager}"
    result = replay(name, trace, samples=100)
    last, peak = trace.events - 1, peak_event(result)
    profile = growth(trace, ending(trace), [peak, last])
    at_peak = profile.moments.get(peak, profile.peak)
    code = item.function.__code__
    own = f"{code.co_name} ("
    file = "/".join(Path(code.co_filename).parts[-2:])

    def of_test(site: int) -> bool:
        return any(one.startswith(own) and file in one for one in trace.stack(site))

    leaks = _lines(trace, profile.moments[last], of_test)
    return Held(
        item.nodeid,
        result.manager,
        int(result.held_bytes),
        int(trace.peak_live_bytes),
        sum(leaks.values()),
        _most(_lines(trace, at_peak, lambda site: True)),
        _most(leaks),
    )


def _lines(trace: Trace, moment: Moment, chosen: Any) -> dict[str, int]:
    """Bytes alive by line of Python; by C function of what no line asked for."""
    found: dict[str, int] = {}
    for row in moment.live.nonzero()[0].tolist():
        site = row - 1  # the first row is of requests without a site
        if site < 0 or not chosen(site):
            continue
        stack = trace.stack(site)
        line = next((one for one in reversed(stack) if one.endswith(")") and ".py:" in one), None)
        label = line or (stack[-1] if stack else "?")
        found[label] = found.get(label, 0) + int(moment.live[row])
    return {label: size for label, size in found.items() if size}


def _most(lines: dict[str, int]) -> list[tuple[str, int]]:
    telling = TELLING * sum(lines.values())
    found = [(line, size) for line, size in lines.items() if size >= telling]
    return sorted(found, key=lambda one: -one[1])[:MOST_LINES]


def beyond(held: Held, limits: dict[str, int]) -> str:
    """What to say of a test that holds more than its limits; "" of one that does not."""
    from heapwright.words import bytes_text

    told = []
    for name, size, what, lines in (
        (
            "limit_resident",
            held.resident_bytes,
            f"{bytes_text(held.resident_bytes)} resident at its peak under {held.manager}",
            held.peak_lines,
        ),
        (
            "limit_leak",
            held.leak_bytes,
            f"{bytes_text(held.leak_bytes)} that it asked for and that are not freed",
            held.leak_lines,
        ),
    ):
        if name in limits and size > limits[name]:
            told.append(f"The test holds {what}: its {name} is {bytes_text(limits[name])}.")
            told += [f"  {bytes_text(live):>10}  {line}" for line, live in lines]
    return "\n".join(told)


class Summary:
    """Collects what tests told, also those that another process ran."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._told: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test told."""
        for name, value in report.user_properties if report.when == "call" else ():
            if name == _PROPERTY and isinstance(value, dict):
                (self._failed if "error" in value else self._told).append(value)

    def pytest_sessionfinish(self) -> None:
        """Write the file that was asked for; what a worker of xdist told, its controller writes."""
        path = self._config.getoption("--heapwright-json")
        if path and not hasattr(self._config, "workerinput"):
            from heapwright.report.atomic import atomic

            with atomic(Path(path)) as beside:
                document = {"tests": self._told, "not_recorded": self._failed}
                beside.write_text(json.dumps(document, indent=1))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The tests that held most, where they were asked for."""
        if not self._config.getoption("--heapwright"):
            return
        from heapwright.words import bytes_text, counted

        line = terminalreporter.line
        terminalreporter.section("heapwright")
        if self._told:
            line(f"{'resident':>10} {'live':>10} {'leak':>10}  test")
        for one in sorted(self._told, key=lambda one: -one["resident_bytes"])[:MOST_TESTS]:
            figures = (one["resident_bytes"], one["live_bytes"], one["leak_bytes"])
            line(" ".join(f"{bytes_text(figure):>10}" for figure in figures) + f"  {one['test']}")
        if self._told:
            names = ", ".join(sorted({one["manager"] for one in self._told}))
            line(
                f"{counted(len(self._told), 'test')}; resident: at the peak of the test's own "
                f"blocks, under {names}; leak: asked for by the test, not freed at its end."
            )
        if self._failed:
            line(f"{counted(len(self._failed), 'test')} not recorded: {self._failed[0]['error']}")
