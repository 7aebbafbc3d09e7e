"""Put one small fault after another into the code and see whether the suite finds it.

    python tools/mutants.py --count 60 --seed 1 [--of managers,machine,importers,report]

A fault is one of: a comparison turned (< and <=, == and !=), + and -, * and //, `and` and `or`, a
`not` left out, a whole number one larger, a call whose result nobody uses left out. It is put into
a copy of the tree, and the tests that stand for the file run there, interpreted where kernels are
concerned; what they do not notice is a survivor. Survivors are printed with their line; more than
one in twenty is a failure. Lines of `tools/equivalent_mutants.txt`, FILE: text -> text, name
faults that change nothing that anyone could see, each with its reason.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/heapwright")
MOST_SURVIVORS = 0.05
SLACK_SECONDS = 60  # beyond four times what the tests take without a fault
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
GROUPS = {  # what the tests of a file are, beside those that bear its name
    "managers": ("managers/*/*/*.py", []),
    "machine": ("machine/*.py", ["tests/machine"]),
    "importers": ("trace/importers/*.py", ["tests/trace"]),
    "report": (
        "report/*.py",
        ["tests/report", "tests/cli/test_compare.py", "tests/cli/test_traces.py"],
    ),
}
NEVER = {"__init__.py", "invariants.py"}  # data, and what tests themselves ask


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


def tests_of(path: Path, group: str) -> tuple[list[str], dict[str, str]]:
    """Arguments of pytest for a file, and variables of the run."""
    mirrors = ROOT.glob(f"tests/*/test_{path.stem}.py")
    chosen = [*GROUPS[group][1], *(str(found.relative_to(ROOT)) for found in mirrors)]
    if group == "importers":
        return [*chosen, "-k", "import"], {}
    if group == "report":
        return [*chosen, "-k", "not browser and not demo"], {}
    if group == "managers":
        manager = path.parent.name
        named = (manager, f'"{manager.replace("_", "-")}"')
        for found in sorted(ROOT.glob("tests/*/test_*.py")):
            room = found.parent.name in ("managers", "collectors", "allocators", "tunnel")
            text = found.read_text()
            if room and ("managers()" in text or any(name in text for name in named)):
                chosen.append(str(found.relative_to(ROOT)))
        chosen += ["-k", f"{manager} or {manager.replace('_', '-')}"]
    return chosen, {"HEAPWRIGHT_INTERPRET": "1"}


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
        self.seconds: dict[tuple[str, ...], float] = {}

    def passes(self, arguments: list[str], variables: dict[str, str], limit: float) -> bool:
        """Whether the tests pass within `limit` seconds."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src"), **variables}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                capture_output=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        if done.returncode == 5:  # no test: none could notice
            print(f"no test stands for {arguments}", file=sys.stderr)
        return done.returncode in (0, 5)

    def survives(self, mutant: Mutant, group: str) -> bool:
        """Whether no test notices the fault."""
        arguments, variables = tests_of(mutant.path, group)
        key = tuple(arguments)
        if key not in self.seconds:
            began = time.monotonic()
            if not self.passes(arguments, variables, 3600):
                raise SystemExit(f"the tests fail without a fault: pytest {' '.join(arguments)}")
            self.seconds[key] = time.monotonic() - began
        place = self.folder / mutant.path
        source = place.read_text()
        place.write_text(mutant.text(source))
        try:
            return self.passes(arguments, variables, 4 * self.seconds[key] + SLACK_SECONDS)
        finally:
            place.write_text(source)


def equivalent() -> set[str]:
    """The faults that are known to change nothing."""
    lines = (ROOT / "tools/equivalent_mutants.txt").read_text().splitlines()
    return {line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")}


def main() -> None:
    """Try faults drawn from a seed; say which survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of", default=",".join(GROUPS))
    asked = parser.parse_args()
    known = equivalent()
    draw = random.Random(asked.seed)
    groups = asked.of.split(",")
    survivors, tried = [], 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder))
        for number in range(asked.count):
            group = groups[number % len(groups)]
            files = sorted(
                p for p in (ROOT / PACKAGE).glob(GROUPS[group][0]) if p.name not in NEVER
            )
            found = list(mutants(draw.choice(files).relative_to(ROOT)))
            if not found:
                continue
            mutant = draw.choice(found)
            line = (ROOT / mutant.path).read_text().splitlines()[mutant.line - 1].strip()
            told = f"{mutant.path.relative_to(PACKAGE)}: {line}: {mutant.before} -> {mutant.after}"
            if told in known:
                continue
            tried += 1
            lives = bench.survives(mutant, group)
            if lives:
                survivors.append(told)
            print(f"{'SURVIVES' if lives else 'found   '} {told}", flush=True)
    print(f"{len(survivors)} of {tried} survive")
    raise SystemExit(len(survivors) > MOST_SURVIVORS * tried)


if __name__ == "__main__":
    main()
