"""Put one small fault after another into the code and see whether the suite finds it.

    python tools/mutants.py --count 60 --seed 1 [--of managers,machine,importers,report]
    python tools/mutants.py --at machine/device.py:129   every fault of a line, after a survivor

A fault is one of: a comparison turned (< and <=, == and !=), + and -, * and //, `and` and `or`, a
`not` left out, a whole number one larger, a call whose result nobody uses left out. It is put into
a copy of the tree, and the tests that call the place run there, interpreted, up to the first
failure (`mutant_bench.py`); what they do not notice is a survivor. Faults are drawn evenly over a
group's files. Survivors are printed with their line; more than one in twenty of a group is a
failure. Which tests call what is found once, which takes ten minutes, and kept in build/.
Lines of `tools/equivalent_mutants.txt`, FILE: line -> line with the fault, name faults that change
nothing that anyone could see, each with its reason.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutant_bench import OPTIONS, Bench, Choice, Mutant

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/heapwright")
MOST_SURVIVORS = 0.05
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
NEVER = {"__init__.py", "invariants.py"}  # data, and what tests themselves ask, which is also:
ASKED = {"managers": "check"}  # where a manager keeps its invariants beside its verbs
LEFT_OUT = re.compile(  # a browser, real programs, what takes long step by step
    r"browser|demo|timelines_of_managers|test_importers_recordings|records_and_threads_past"
    r"|streams_and_python_stacks|which_setting_would_have|grows_into_further_heaps"
    r"|the_table_grows_and_empties|damaged_capture|long_chain_survives"
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
APART = {  # formats with a file of tests of their own, and the modules that only those ask
    "kernel": ("ftrace", "gfp", "kernel_events", "kernel_notes", "ring_pages"),
    "memray": ("memray", "memray_domains"),
    "torch": ("pickled", "snapshot_start", "torch_snapshot"),
}


def rank(path: Path, group: str, file: str, named: str, text: str) -> int | None:
    """How soon a file's tests, those about the manager `named`, are asked of a module of a group:
    0 first; None never. `text` is the file's."""
    own, stem = path.stem.strip("_"), Path(file).stem.removeprefix("test_")
    folder = file.split("/")[1]
    if group == "importers":
        apart = next((name for name, parts in APART.items() if own in parts), "")
        alone = next((name for name in APART if name in stem), "")
        if apart != alone or (stem == "exports" and own not in text):
            return None
        return 0 if own in text else 2 if "fuzz" in stem else 1
    if group == "machine":
        if ("cuda" in stem or "cuda" in named or stem == "device") != (own == "device"):
            return None
        if own in FLIGHTS:
            return 0 if stem == "linux" else None
        return 0 if own in stem else 1 if folder == "machine" else 2
    if group == "report":
        if folder != "report":
            return 2 if stem in SEEN_BY.get(own, ()) else None  # of a command: dear
        seen = stem in WHOLE or re.search(rf"\breport\b.*\b{own}\b", text)
        return 0 if own in stem else 1 if seen else None
    manager = path.parent.name
    if named:  # golden figures notice most, and soonest
        asked = 0 if "golden" in stem else 2
        return asked if named == manager.replace("_", "-") else None
    if folder == "linux":  # the kernel's managers, which share their parts
        return 2 if path.parent.parent.name == "linux" else None
    if folder == "references" and not manager.startswith("hotspot"):
        return None
    if re.match(rf"{manager}(_|$)", stem) or manager in text:
        return 1 if own in stem or manager in stem else 2
    return None


def files_of(group: str) -> list[Path]:
    """The files that a group's faults are put into, from the root."""
    found = (ROOT / PACKAGE).glob(GROUPS[group][0])
    return sorted(p.relative_to(ROOT) for p in found if p.name not in NEVER)


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

    tree = ast.parse(source)
    asked = ASKED.get(path.parts[-4] if len(path.parts) > 3 else "")
    tree.body = [one for one in tree.body if getattr(one, "name", "") != asked]
    for node in ast.walk(tree):
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


def equivalent() -> set[str]:
    """The faults that are known to change nothing."""
    lines = (ROOT / "tools/equivalent_mutants.txt").read_text().splitlines()
    return {
        line.rpartition("  # ")[0].strip() for line in lines if line and not line.startswith("#")
    }


def told(mutant: Mutant, source: str) -> str:
    """A fault as it is printed, and named where it is known to change nothing."""
    before, after = (
        text.splitlines()[mutant.line - 1].strip() for text in (source, mutant.text(source))
    )
    return f"{mutant.path.relative_to(PACKAGE)}: {before} -> {after}"


def drawn(group: str, count: int, draw: random.Random) -> list[Mutant]:
    """`count` faults, evenly over the files of a group."""
    known = equivalent()
    chosen: list[Mutant] = []
    left = {ROOT / f: found for f in files_of(group) if (found := list(mutants(f)))}
    while len(chosen) < count and left:
        for file in draw.sample(list(left), min(len(left), count - len(chosen))):
            mutant = left[file].pop(draw.randrange(len(left[file])))
            if not left[file]:
                del left[file]
            if told(mutant, file.read_text()) not in known:
                chosen.append(mutant)
    return chosen


def at_line(place: str) -> list[Mutant]:
    """Every fault of FILE:LINE."""
    file, _, line = place.partition(":")
    known, found = equivalent(), mutants(PACKAGE / file)
    source = (ROOT / PACKAGE / file).read_text()
    return [one for one in found if one.line == int(line) and told(one, source) not in known]


def tried(bench: Bench, of_group: dict[str, list[Mutant]]) -> bool:
    """Whether too many faults of a group survive; what became of each is printed."""
    failed = False
    for group, faults in of_group.items():
        survivors = 0
        for mutant in faults:
            lives = bench.survives(mutant, group)
            survivors += lives
            verdict = "SURVIVES" if lives else "found   "
            print(
                f"{verdict} {told(mutant, bench.sources[mutant.path])} ({mutant.line})", flush=True
            )
        print(f"{group}: {survivors} of {len(faults)} survive", flush=True)
        failed |= survivors > MOST_SURVIVORS * len(faults)
    return failed


def main() -> None:
    """Try faults drawn from a seed; say which survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="faults, shared by the groups")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of", default=",".join(GROUPS))
    parser.add_argument("--at", nargs="*", default=[], metavar="FILE:LINE", help="those alone")
    asked = parser.parse_args()
    of_group: dict[str, list[Mutant]] = {}
    if asked.at:
        for place in asked.at:
            path = PACKAGE / place.partition(":")[0]
            group = next((one for one in GROUPS if path in files_of(one)), "")
            if not group:
                parser.error(f"{place} is in no group: {', '.join(GROUPS)}")
            of_group.setdefault(group, []).extend(at_line(place))
    else:
        draw = random.Random(asked.seed)
        groups = asked.of.split(",")
        of_group = {group: drawn(group, asked.count // len(groups), draw) for group in groups}
    tests = sorted({f"tests/{name}" for group in of_group for name in GROUPS[group][1].split()})
    failed = []

    def wanted(group: str, test: str) -> bool:
        _, folders, pattern = GROUPS[group]
        return (
            test.split("/")[1] in folders.split()
            and re.search(pattern, test) is not None
            and not LEFT_OUT.search(test)
        )

    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder, own = Path(name), os.getpid()

        def ended(*_: object) -> None:
            if os.getpid() == own:
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + signal.SIGTERM)

        signal.signal(signal.SIGTERM, ended)
        for part in ("src", "tests", "tools", "docs", "fuzz", "benchmarks"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for part in ("pyproject.toml", "README.md", "Makefile", "CONTRIBUTING.md"):
            shutil.copy(ROOT / part, folder / part)
        os.chdir(folder)
        os.environ |= {"HEAPWRIGHT_INTERPRET": "1", "PYTHONPATH": str(folder / "src")}
        sys.path.insert(0, str(folder / "src"))
        bench = Bench(
            folder,
            [file for group in GROUPS for file in files_of(group)],
            ROOT / "build/mutants",
            Choice(list(of_group), wanted, rank),
            lambda bench: failed.append(tried(bench, of_group)),
        )
        told = pytest.main([*OPTIONS, "-s", f"--basetemp={folder}/made", *tests], [bench])
        os.chdir(ROOT)
    raise SystemExit(failed[0] if failed else told)


if __name__ == "__main__":
    main()
