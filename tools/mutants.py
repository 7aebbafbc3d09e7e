"""Put one small fault after another into the code and see whether the suite finds it.

    python tools/mutants.py --count 60 --seed 1 [--of managers,machine,importers,report]

A fault is one of: a comparison turned (< and <=, == and !=), + and -, * and //, `and` and `or`, a
`not` left out, a whole number one larger, a call whose result nobody uses left out. It is put into
a copy of the tree, and the tests that stand for the file run there, interpreted, its own first, up
to the first failure; what they do not notice is a survivor. Faults are drawn evenly over a group's
files. Survivors are printed with their line; more than one in twenty of a group is a failure.
Lines of `tools/equivalent_mutants.txt`, FILE: line -> line with the fault, name faults that change
nothing that anyone could see, each with its reason.
"""

import argparse
import ast
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/heapwright")
MOST_SURVIVORS = 0.05
LIMIT_SECONDS = 150  # of a processor, of the tests of a fault: some loop for ever
PATIENCE_SECONDS = 2000  # by the clock: some wait for ever, and the machine may be busy
TURNED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
GROUPS = {  # where a group's files lie, in which folders its tests, and which of those: a pattern
    "managers": (
        "managers/*/*/*.py",
        "managers collectors linux tunnel references",
        r"golden|tests/(managers|collectors|linux)/(?!test_grounds|test_contract)|test_every_collection_is",
    ),
    "machine": (
        "machine/*.py",
        "machine managers tunnel",
        r"tests/machine|(golden|conforms).*\[(first-fit|glibc|slots|cuda-caching)\b|test_cuda",
    ),
    "importers": ("trace/importers/*.py", "trace", r"test_importer|test_exports"),
    "report": ("report/*.py", "report cli api references", r"tests/(report|cli|api)|logged"),
}
NEVER = {"__init__.py", "invariants.py"}  # data, and what tests themselves ask
LEFT_OUT = re.compile(  # a browser, real programs, what takes long step by step
    r"browser|demo|test_importers_recordings|expands_without_end|records_and_threads_past"
    r"|grows_into_further_heaps|the_table_grows_and_empties|damaged_capture|long_chain_survives"
)
WHOLE = ("html", "document", "leaving", "rows", "summary", "traces")  # tests of whole reports
SEEN_BY = {  # what else is shown, by the tests of a command or of the public face
    "advice": ("advise",),
    "agreement": ("validate",),
    "answers": ("diff", "why"),
    "areas_table": ("areas",),
    "atomic": ("compare", "size_classes"),
    "comparison": ("compare",),
    "diff": ("diff",),
    "gc_log": ("hotspot_logged", "gc_log"),
    "kernel_frames": ("frames",),
    "kernel_page": ("frames",),
    "limits": ("compare_heaps", "compare"),
    "maps_table": ("maps",),
    "notes": ("notes",),
    "row_store": ("sweep", "sweeping"),
    "size_classes": ("size_classes",),
    "summary": ("compare", "traces"),
    "sweep": ("sweep",),
    "terminal": ("compare", "traces"),
    "traces": ("traces",),
    "why": ("why",),
    "why_page": ("why",),
}
FLIGHTS = ("linux", "tables")  # of the machine, what only a flight calls
FORMATS = (
    *("android", "bytehound", "csapp", "heaptrack", "logalloc", "ltrace", "memray", "mtrace"),
    *("tabular", "valgrind"),
)
CALLED = {"tabular": "(table|slots|object|columns?)"}  # in the names of tests
APART = {  # formats with a file of tests of their own, and the modules that only those ask
    "kernel": ("ftrace", "gfp", "kernel_events", "kernel_notes", "ring_pages"),
    "torch": ("pickled", "snapshot_start", "torch_snapshot"),
}
GOLDEN = "tests/tunnel/test_golden_addresses.py"
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", f"--timeout={PATIENCE_SECONDS}")
INTERPRETED = {"HEAPWRIGHT_INTERPRET": "1"}


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


def mutants(path: Path) -> Iterator[Mutant]:
    """Every fault of a file."""
    source = (ROOT / path).read_text()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def offset(line: int, column: int) -> int:
        return len(raw[: starts[line - 1] + column].decode())

    def between(left: ast.AST, right: ast.AST, operator: str, other: str) -> Iterator[Mutant]:
        first = offset(left.end_lineno, left.end_col_offset)  # type: ignore[attr-defined]
        past = offset(right.lineno, right.col_offset)  # type: ignore[attr-defined]
        at = source.find(operator, first, past)
        if at >= 0:
            yield Mutant(path, source.count("\n", 0, at) + 1, at, operator, other)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
            yield from between(node.left, node.comparators[0], *TURNED[type(node.ops[0])])
        elif isinstance(node, ast.BinOp) and type(node.op) in TURNED:
            yield from between(node.left, node.right, *TURNED[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            yield from between(node.values[0], node.values[1], *TURNED[type(node.op)])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            at = offset(node.lineno, node.col_offset)
            yield Mutant(path, node.lineno, at, "not ", "")
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            at = offset(node.lineno, node.col_offset)
            text = source[at : offset(node.end_lineno or 0, node.end_col_offset or 0)]
            yield Mutant(path, node.lineno, at, text, str(node.value + 1))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            at = offset(node.lineno, node.col_offset)
            text = source[at : offset(node.end_lineno or 0, node.end_col_offset or 0)]
            yield Mutant(path, node.lineno, at, text, "pass")


@cache
def tests_of_group(group: str) -> list[str]:
    """Ids of a group's tests."""
    folders = [f"tests/{name}" for name in GROUPS[group][1].split()]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *folders]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **INTERPRETED},
        capture_output=True,
        text=True,
        check=True,
    )
    which = re.compile(GROUPS[group][2])
    found = [line for line in done.stdout.splitlines() if "::" in line]
    return [test for test in found if which.search(test) and not LEFT_OUT.search(test)]


@cache
def tests_of(path: Path, group: str) -> list[str]:
    """Ids of the tests that stand for a file, the most telling first."""
    manager = path.parent.name.replace("_", "-")
    own = manager if group == "managers" else path.stem.rstrip("_")
    everyone = {p.parent.name.replace("_", "-") for p in ROOT.glob("src/heapwright/managers/*/*/*")}

    def rank(test: str) -> int | None:
        file, _, case = test.partition("::")
        stem = Path(file).stem.removeprefix("test_")
        apart = next((name for name, parts in APART.items() if own in parts), "")
        if group == "importers" and (apart or stem.startswith("importer_")):
            return 0 if stem == f"importer_{apart}" else None
        if group == "importers":  # one format's tests; all for the parts that formats share
            shown = CALLED.get(own, own)
            mine = own in stem or re.search(rf"(?<![a-z]){shown}s?(?![a-z])", case)
            if stem == "exports" and not mine:
                return None
            shared = own not in FORMATS and "memray" not in stem and "fuzz" not in stem
            return 0 if mine else 1 if shared or stem == "importers" else None
        if group == "machine" and ("cuda" in test) != (own == "device"):
            return None
        if group == "machine" and own in FLIGHTS:
            return 0 if stem == "linux" else None
        if group == "report":  # its own, those that import it, and those that see whole reports
            if "tests/report" not in file:
                return 0 if stem in SEEN_BY.get(own, ()) else None
            seen = stem in WHOLE or f"report.{own} import" in (ROOT / file).read_text()
            return 0 if own in stem or own in case else 1 if seen else None
        if group != "managers":
            return 0 if own in stem or own in case else 1
        told = re.search(r"\[(.*)\]", case)
        words = set(re.split(r"[ ]|-(?=\d|\w+=)", told[1])) if told else set()
        named = {name for name in everyone if told and re.search(rf"(^|-){name}($|[- ])", told[1])}
        if any(other != own and own in other for other in named):
            named.discard(own)
        if file == GOLDEN:
            return 0 if own in words else None
        if file.startswith("tests/linux"):  # the kernel's managers, which share their parts
            return 1 if path.parent.parent.name == "linux" else None
        if file.startswith("tests/references"):  # keys of HotSpot's, by collector
            return 0 if told and manager == f"hotspot-{told[1].split('-')[0]}" else None
        if re.match(rf"{own}(-|$)", stem.replace("_", "-")):
            return 1
        if named:
            return 2 if own in named else None
        return 2 if f'"{own}"' in (ROOT / file).read_text() else None

    ranked = [(order, test) for test in tests_of_group(group) if (order := rank(test)) is not None]
    return [test for _, test in sorted(ranked, key=lambda pair: pair[0])]


class Bench:
    """A copy of the tree in which faults are tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("src", "tests", "docs", "fuzz", "benchmarks"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("pyproject.toml", "README.md", "Makefile", "CONTRIBUTING.md"):
            shutil.copy(ROOT / name, folder / name)
        self.sound: set[str] = set()  # tests that pass without a fault

    def first_failure(self, tests: list[str]) -> str | None:
        """Of the tests in their order the first that fails; "" where time ran out, None of none."""
        environment = {**os.environ, **INTERPRETED, "PYTHONPATH": str(self.folder / "src")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a fault may come within a clock's tick
        command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as running:
            resource.prlimit(running.pid, resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))
            try:
                told, _ = running.communicate(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                return ""
        if running.returncode == 0:
            return None
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", told, re.MULTILINE)
        return failed[1] if failed and failed[1] in tests else tests[0]

    def survives(self, mutant: Mutant, group: str) -> bool:
        """Whether no test notices the fault; of a file without tests, none does."""
        tests = tests_of(mutant.path, group)
        if not tests:
            return True
        place = self.folder / mutant.path
        source = place.read_text()
        place.write_text(mutant.text(source))
        try:
            failed = self.first_failure(tests)
        finally:
            place.write_text(source)
        if failed and failed not in self.sound:
            if self.first_failure([failed]) is not None:
                raise SystemExit(f"{failed} fails without a fault")
            self.sound.add(failed)
        return failed is None


def equivalent() -> set[str]:
    """The faults that are known to change nothing."""
    lines = (ROOT / "tools/equivalent_mutants.txt").read_text().splitlines()
    return {
        line.rpartition("  # ")[0].strip() for line in lines if line and not line.startswith("#")
    }


def drawn(group: str, count: int, draw: random.Random) -> list[tuple[Mutant, str]]:
    """`count` faults, evenly over the files of a group, and how each is told."""
    files = sorted(p for p in (ROOT / PACKAGE).glob(GROUPS[group][0]) if p.name not in NEVER)
    known = equivalent()
    chosen: list[tuple[Mutant, str]] = []
    left = {file: found for file in files if (found := list(mutants(file.relative_to(ROOT))))}
    while len(chosen) < count and left:
        for file in draw.sample(list(left), min(len(left), count - len(chosen))):
            mutant = left[file].pop(draw.randrange(len(left[file])))
            if not left[file]:
                del left[file]
            source = file.read_text()
            before, after = (
                text.splitlines()[mutant.line - 1].strip() for text in (source, mutant.text(source))
            )
            told = f"{mutant.path.relative_to(PACKAGE)}: {before} -> {after}"
            if told not in known:
                chosen.append((mutant, told))
    return chosen


def main() -> None:
    """Try faults drawn from a seed; say which survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="faults, shared by the groups")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of", default=",".join(GROUPS))
    asked = parser.parse_args()
    groups = asked.of.split(",")
    draw = random.Random(asked.seed)
    failed = False
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder))
        for group in groups:
            survivors = 0
            faults = drawn(group, asked.count // len(groups), draw)
            for mutant, told in faults:
                lives = bench.survives(mutant, group)
                survivors += lives
                print(f"{'SURVIVES' if lives else 'found   '} {told} ({mutant.line})", flush=True)
            print(f"{group}: {survivors} of {len(faults)} survive", flush=True)
            failed |= survivors > MOST_SURVIVORS * len(faults)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
