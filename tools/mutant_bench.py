"""The process in which faults are tried: it has imported everything, and forks for each fault.

    pytest collects ─► fork a test file: which functions does each of its tests call? (kept)
                    └► fork a fault:    the functions' code is exchanged, the tests that call them
                                        run, cheapest file first, up to the first failure

A fault within a function needs no import: the code of the functions that are alive is exchanged by
what the faulty source compiles to, in a child that shares all else with this process. What stands
at a module's top runs when it is imported, so there a new process imports the faulty tree, and so
it does for what survives. Which tests call what is found by stubs in place of the functions, in
forked children too, and kept with the seconds that each test took, under the digest of its file
and of what that imports.
"""

import ast
import contextlib
import ctypes
import gc
import hashlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutant_calls import Calls, codes, key

TESTS_SECONDS = 60  # of a processor, as they took without a fault: the cheapest that call the place
PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNIT_SECONDS = 40  # of a processor, of tests that are mapped together: the rest is not asked
BESIDE = 40  # tests that are asked of what none of them calls
FAR = 20  # times as long as without a fault: what takes longer is taken to be without end
LIMIT_SECONDS = 240  # of a processor, of a fault's tests or of a file's without one
PATIENCE_SECONDS = 2000  # by the clock: some wait for ever, and the machine may be busy
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", f"--timeout={PATIENCE_SECONDS}")


@dataclass(frozen=True)
class Mutant:
    """A fault: where, and the text before and after."""

    path: Path  # from the root
    line: int
    start: int  # offset in the file's text
    before: str
    after: str

    def text(self, source: str) -> str:
        """The source with the fault."""
        assert source[self.start : self.start + len(self.before)] == self.before
        return source[: self.start] + self.after + source[self.start + len(self.before) :]


def made_at(source: str, line: int) -> set[str]:
    """The names that the statement of a module's top at `line` gives to something."""
    for node in ast.parse(source).body:
        if node.lineno <= line <= (node.end_lineno or 0):
            names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
            own = {node.name} if isinstance(node, ast.ClassDef | ast.FunctionDef) else set()
            return own | {one.id for one in names if isinstance(one.ctx, ast.Store)}
    return set()


class Choice(NamedTuple):
    """Which tests are asked of which faults."""

    groups: list[str]
    wanted: Callable[[str, str], bool]  # of a group, a test
    rank: Callable[
        [Path, str, str, str, str], int | None
    ]  # file, group; tests' file, manager, text


class Bench:
    """A plugin of pytest that runs `work` in place of the tests that were collected."""

    def __init__(
        self,
        root: Path,
        files: Iterable[Path],
        kept: Path,
        choice: "Choice",
        work: Callable[["Bench"], None],
    ) -> None:
        self.root, self.kept = root, kept
        self.choice, self.work = choice, work
        self.sources = {file: (root / file).read_text() for file in files}
        self.functions = [  # file, function, what it compiles to
            (file, f"{file}:{code.co_qualname}", code)
            for file, source in self.sources.items()
            for code in codes(compile(source, str(root / file), "exec"))
        ]
        self.living: dict[tuple[str, str, int], list[types.FunctionType]] = defaultdict(list)
        self.items: dict[str, pytest.Item] = {}
        self.managers = {p.parent.name.replace("_", "-") for p in self.sources if len(p.parts) == 6}
        self.units: dict[tuple[str, str], list[str]] = defaultdict(list)  # a file, a manager: tests
        self.texts: dict[str, str] = {}  # of tests
        self.tests: dict[tuple[str, str], dict[str, tuple[float, set[str]]]] = {}
        self.sound: set[str] = set()  # tests that pass without a fault
        self.failed = ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """What the session does: no test, in this process."""
        self.items = {
            item.nodeid: item
            for item in session.items
            if any(self.choice.wanted(group, item.nodeid) for group in self.choice.groups)
        }
        for file in self.sources:
            import_module(".".join(file.with_suffix("").parts[1:]))
        for manager in import_module("heapwright.managers").managers().values():
            _ = manager.module  # one that stands on another is made of its source once more
        places = {str(self.root / file) for file in self.sources}
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and thing.__code__.co_filename in places:
                self.living[key(thing.__code__)].append(thing)
        gc.freeze()
        for name in self.items:
            self.units[self.unit(name)].append(name)
        self.texts = {file: (self.root / file).read_text() for file, _ in self.units}
        self.work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def unit(self, name: str) -> tuple[str, str]:
        """What a test is mapped with: the others of its file, about the same manager if any."""
        told = re.search(r"\[(.*)\]", name)
        words = f"-{told[1]}-".replace(" ", "-") if told else ""
        named = max((one for one in self.managers if f"-{one}-" in words), key=len, default="")
        return name.partition("::")[0], named

    def known(self, unit: tuple[str, str]) -> dict[str, tuple[float, set[str]]]:
        """Seconds and functions called, of each test of a unit that passes; found once and kept."""
        if unit not in self.tests:
            file, names = unit[0], self.units[unit]
            place = self.kept / ("@".join(filter(None, unit)).replace("/", ".") + ".json")
            digest = hashlib.sha256(self.told_in(file)).hexdigest()
            kept = json.loads(place.read_text()) if place.exists() else {}
            if kept.get("digest") != digest or not set(names) <= set(kept["asked"]):
                found = self.forked(partial(self.mapped, names)) or '{"functions": [], "tests": {}}'
                kept = {"digest": digest, "asked": names, **json.loads(found)}
                self.kept.mkdir(parents=True, exist_ok=True)
                part = place.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps(kept))
                part.rename(place)
            new = self.newer(kept)
            self.tests[unit] = {
                name: (
                    seconds,
                    {f for at, f in enumerate(kept["functions"]) if int(bits, 16) >> at & 1} | new,
                )
                for name, (seconds, bits) in kept["tests"].items()
                if name in self.items
            }
        return self.tests[unit]

    def told_in(self, file: str) -> bytes:
        """What a file of tests says, and the modules beside the tests that it imports."""
        found: dict[Path, bytes] = {}
        left = [self.root / file]
        while left:
            path = left.pop()
            if path not in found and path.exists():
                found[path] = path.read_bytes()
                named = re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
                left += [self.root / "tests" / f"{one.replace('.', '/')}.py" for one in named]
        return b"".join(found[path] for path in sorted(found))

    def mapped(self, names: list[str]) -> str:
        """In a child: seconds and calls of each test that passes, as JSON."""
        calls, found, seen = Calls(self.living), {}, set()
        for name, after in zip(names, [*names[1:], None], strict=True):
            calls.clear()
            before, self.failed = sum(os.times()[:4]), ""
            self.run_one(name, after)
            seconds = sum(os.times()[:4]) - before
            if not self.failed:
                found[name] = round(seconds, 3), calls.called()
                seen |= set(found[name][1])
            if sum(os.times()[:4]) > UNIT_SECONDS:
                break
        number = {at: new for new, at in enumerate(sorted(seen))}
        name_of = {key(code): name for _, name, code in self.functions}
        bits = {
            name: (seconds, f"{sum(1 << number[at] for at in called):x}")
            for name, (seconds, called) in found.items()
        }
        functions = [name_of.get(key(calls.codes[at]), "") for at in sorted(seen)]
        files = {name.partition(":")[0] for name in functions}
        there = [name for file, name, _ in self.functions if str(file) in files]
        return json.dumps({"functions": functions, "tests": bits, "there": there})

    def newer(self, kept: dict[str, Any]) -> set[str]:
        """Functions that came after a map was kept, into files that its tests call: any of those
        tests may call them."""
        there = set(kept.get("there", ()))
        files = {name.partition(":")[0] for name in there}
        names = {name for file, name, _ in self.functions if str(file) in files}
        return names - there

    def run_one(self, name: str, after: str | None) -> None:
        """A test, in this process."""
        item, following = self.items[name], self.items[after] if after else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def forked(self, what: Callable[[], str], seconds: int = LIMIT_SECONDS) -> str | None:
        """What a child says at its end; None where it ended otherwise or took too long."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                os.setpgid(0, 0)  # a session of its own would have a priority of its own
                nothing = os.open(os.devnull, os.O_RDWR)
                for number in range(3):
                    os.dup2(nothing, number)
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
                told = what()
                with os.fdopen(write, "w") as pipe:
                    pipe.write(told)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)  # of pytest's end nothing is wanted
        os.close(write)
        heard, until = b"", time.monotonic() + PATIENCE_SECONDS
        while select.select([read], [], [], max(0, until - time.monotonic()))[0]:
            more = os.read(read, 1 << 20)
            if not more:
                break
            heard += more
        os.close(read)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return heard.decode() or None

    def nearest(self, mutant: Mutant, group: str) -> list[tuple[str, str]]:
        """A group's units that may notice a fault, in the order of `rank`."""
        ranked = []
        for (file, named), names in self.units.items():
            if self.choice.wanted(group, names[0]):
                order = self.choice.rank(mutant.path, group, file, named, self.texts[file])
                if order is not None:
                    ranked.append((order, file, named))
        return [(file, named) for _, file, named in sorted(ranked)]

    def around(self, mutant: Mutant) -> set[str]:
        """Names of the functions that hold a fault, or that read what a module's top makes."""
        changed = self.changed(mutant)
        if changed:
            return {name for _, name, code in self.functions if key(code) in changed}
        made = made_at(self.sources[mutant.path], mutant.line)
        module = mutant.path.stem
        files = {
            file
            for file, text in self.sources.items()
            if file == mutant.path or re.search(rf"^from .*\b{module}\b", text, re.MULTILINE)
        }
        near = [(name, code) for file, name, code in self.functions if file in files]
        reading = {name for name, code in near if made & set(code.co_names)}
        return reading or {name for name, _ in near}

    def changed(self, mutant: Mutant) -> dict[tuple[str, str, int], types.CodeType]:
        """What functions that are alive are to run instead; nothing at a module's top."""
        source, place = self.sources[mutant.path], str(self.root / mutant.path)
        new = {key(c): c for c in codes(compile(mutant.text(source), place, "exec"))}
        changed = {}
        for code in codes(compile(source, place, "exec")):
            last = max(line for _, _, line in code.co_lines() if line)
            if code.co_firstlineno <= mutant.line <= last and self.living.get(key(code)):
                if new.get(key(code), code) != code:
                    changed[key(code)] = new[key(code)]
        return changed

    def first_failure(
        self, names: list[str], mutant: Mutant | None = None, seconds: float = LIMIT_SECONDS
    ) -> str | None:
        """Of the tests in their order the first that fails; "" where they ended otherwise, or took
        far longer than the `seconds` of a processor that they take without a fault."""
        changed = self.changed(mutant) if mutant else {}

        def run() -> str:
            for where, code in changed.items():
                for function in self.living[where]:
                    function.__code__ = code
            for name, after in zip(names, [*names[1:], None], strict=True):
                self.run_one(name, after)
                if self.failed:
                    return self.failed
            return "-"

        told = self.forked(run, min(LIMIT_SECONDS, FAR * int(1 + seconds)))
        return None if told == "-" else told or ""

    def first_cold_failure(self, names: list[str], mutant: Mutant) -> str | None:
        """Likewise in a process that imports the faulty tree."""
        place = self.root / mutant.path
        place.write_text(mutant.text(self.sources[mutant.path]))
        command = [sys.executable, "-m", "pytest", *OPTIONS, *names]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        try:
            with subprocess.Popen(  # type: ignore[call-overload]
                command, cwd=self.root, env=environment, process_group=0, **quiet
            ) as running:
                limits = (LIMIT_SECONDS, LIMIT_SECONDS)
                resource.prlimit(running.pid, resource.RLIMIT_CPU, limits)
                try:
                    told, _ = running.communicate(timeout=PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(running.pid, signal.SIGKILL)
                    return ""
        finally:
            place.write_text(self.sources[mutant.path])
        if running.returncode == 0:
            return None
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", told, re.MULTILINE)
        return failed[1] if failed and failed[1] in names else names[0]

    def survives(self, mutant: Mutant, group: str) -> bool:
        """Whether no test notices the fault; of what no test calls, none does."""
        places, living = self.around(mutant), bool(self.changed(mutant))
        asked: list[str] = []
        own: list[str] = []
        spent, failed = 0.0, None
        speaks = re.compile(rf"\b{mutant.path.stem}\b")
        for unit in self.nearest(mutant, group):
            named = not living and speaks.search(self.texts[unit[0]])  # it may read without a call
            calling = sorted(
                (seconds, name)
                for name, (seconds, called) in self.known(unit).items()
                if named or places & called
            )
            if mutant.path.stem.strip("_") in Path(unit[0]).stem:
                own += self.known(unit)  # some run processes of their own, whose calls are not seen
            within, took = [], 0.0
            for seconds, name in calling:
                if spent < TESTS_SECONDS:
                    within.append(name)
                    took += seconds
                spent += seconds
            asked += within
            if within and living:
                failed = self.first_failure(within, mutant, took)
            if failed is not None or spent > TESTS_SECONDS:
                break
        if not asked and not own:  # called while its module is imported, if at all
            beside = {name for file, name, _ in self.functions if file == mutant.path}
            for unit in self.nearest(mutant, group):
                near = [name for name, told in self.known(unit).items() if told[1] & beside]
                asked += near[: BESIDE - len(asked)]
        if (asked or own) and failed is None:
            failed = self.first_cold_failure(list(dict.fromkeys([*asked, *own])), mutant)
        if failed and failed not in self.sound:
            if self.first_failure([failed]) is not None:
                raise SystemExit(f"{failed} fails without a fault")
            self.sound.add(failed)
        return failed is None
