"""The house of DESIGN: imports go down only, one place names Numba, no file grows too long.

    cli > api > report > insight > flight > adversary > references > tunnel > managers > collectors
        > allocators > linux > machine > trace > structures > compiler

`errors.py`, `result.py`, `sections.py`, `words.py`, `quantities.py`, `cells.py`, `frames.py`,
`cache.py` and `closure.py` at the package's root may be imported by all, and import no room
themselves;
`__init__.py` is the public face, over all.
"""

import ast
import re
from pathlib import Path

import pytest

import heapwright

PACKAGE = Path(heapwright.__file__).parent
ROOMS = (
    "cli",
    "api",
    "report",
    "insight",
    "flight",
    "adversary",
    "references",
    "tunnel",
    "managers",
    "collectors",
    "allocators",
    "linux",
    "machine",
    "trace",
    "structures",
    "compiler",
)
LONGEST_FILE = 400  # lines
SOURCES = sorted(PACKAGE.rglob("*.py"))
OTHER_SOURCES = sorted(
    path
    for kind in ("c", "h", "go", "java", "js", "css", "html")
    for path in PACKAGE.rglob(f"*.{kind}")
)
ROOT = Path(__file__).parents[1]
BESIDE = sorted(  # what is not of the package but read as much
    path
    for folder in ("tests", "tools", "benchmarks", "fuzz")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".c", ".h")
)


def imported_modules(source, module):
    """Full names of the modules that `source`, the text of `module`, imports anywhere in it."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            # `from heapwright import tunnel` names a room in its list
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(module):
    """The room of a module of the package, "" for one at its root, None for a foreign one."""
    parts = module.split(".")
    if parts[0] != "heapwright":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def upward_arrows(source, module):
    """The imports of `module` that lead to a higher room, as text."""
    room = room_of(module)
    for target in imported_modules(source, module):
        other = room_of(target)
        if not other or other == room:
            continue
        if room == "" or ROOMS.index(other) < ROOMS.index(room):
            yield f"{module} imports {target}: {other} lies above {room or 'the root'}"


def names_numba(source, module):
    """Whether `module`, unless it is of the compiler, imports Numba."""
    imports = {target.split(".")[0] for target in imported_modules(source, module)}
    return room_of(module) != "compiler" and "numba" in imports


def imported_at_once(source, module, modules, is_package=False):
    """Those of `modules` that `module` imports, if only for types; but not within functions."""
    package = module if is_package else module.rpartition(".")[0]
    waiting, found = list(ast.parse(source).body), set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            for alias in node.names:
                named = f"{base}.{alias.name}"
                found.add(named if named in modules else base)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += ast.iter_child_nodes(node)
    return (found & set(modules)) - {module}


def functions_needed(sources):
    """For each C file of `sources`, name to text, the others whose functions it calls.

    Those count that a header of `sources` declares and the file includes: two libraries that lie
    side by side may define functions of the same name.
    """
    function = re.compile(r"^(?!static\b|typedef\b)\w[\w *]*?\b(\w+)\([^;{}]*\)\s*\{", re.M)
    call = re.compile(r"\b(\w+)\(")
    files = [name for name in sources if name.endswith(".c")]
    defined = {name: set(function.findall(sources[name])) for name in files}
    declared = {
        name: {
            found
            for header in re.findall(r'#include "(.+?)"', sources[name])
            for found in call.findall(sources.get(header, ""))
        }
        for name in files
    }
    called = {name: set(call.findall(sources[name])) & declared[name] for name in files}
    return {
        name: {
            other
            for other in files
            if other != name and called[name] & (defined[other] - defined[name])
        }
        for name in files
    }


def circles(needs):
    """Groups of names that need each other, each sorted, from name -> names that it needs."""

    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for name in needs[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    beyond = {name: reached(name) for name in needs}
    return {
        tuple(sorted(other for other in beyond[name] if name in beyond[other]))
        for name in needs
        if name in beyond[name]
    }


def module_name(path):
    parts = ["heapwright", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts)


def label(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_go_down_only(path):
    module = module_name(path)
    if module in (
        "heapwright.__main__",
        "heapwright.__init__",
    ):  # the doors, to the top of the house
        return
    assert list(upward_arrows(path.read_text(), module)) == []


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_only_the_compiler_names_numba(path):
    assert not names_numba(path.read_text(), module_name(path))


def test_no_file_is_too_long():
    assert {path.suffix for path in BESIDE} >= {".py", ".c"} and Path(__file__) in BESIDE
    lines = {path: len(path.read_text().splitlines()) for path in SOURCES + OTHER_SOURCES + BESIDE}
    too_long = {str(path): number for path, number in lines.items() if number > LONGEST_FILE}
    assert not too_long, "a part of each wants a file of its own"


def test_a_trace_is_replayed_and_only_a_real_program_flies():
    """One word each: a test's trial replays; `hw.fly` and the command `fly` run a program."""
    word = re.compile(r"(?<!hw)\.fly\(|\bdef (fly|flown|\w*(fly|flown)_beside)")
    aside = ROOT / "tests" / "flight"
    told = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in BESIDE
        if path.is_relative_to(ROOT / "tests") and not path.is_relative_to(aside)
        for found in word.finditer(path.read_text())
        if path != Path(__file__)
    }
    assert not told, "say replay"


def test_no_two_files_import_each_other():
    paths = {module_name(path).removesuffix(".__init__"): path for path in SOURCES}
    needs = {
        module: imported_at_once(path.read_text(), module, paths, path.name == "__init__.py")
        for module, path in paths.items()
    }
    assert circles(needs) == set()


def test_no_two_files_of_c_call_each_other():
    found = set()
    for folder in {path.parent for path in PACKAGE.rglob("*.c")}:
        texts = {path.name: path.read_text() for path in folder.glob("*.[ch]")}
        found |= circles(functions_needed(texts))
    assert found == set()


def test_every_room_is_known():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(ROOMS), f"no place in the house: {folders - set(ROOMS)}"


@pytest.mark.parametrize(
    ("source", "module", "arrows"),
    [
        ("from heapwright.tunnel import loop", "heapwright.managers.textbook.linear.manager", 1),
        ("import heapwright.cli", "heapwright.report.html", 1),
        (
            "def late():\n    from heapwright.insight.census import count",
            "heapwright.trace.store",
            1,
        ),
        ("from ..managers import glibc", "heapwright.machine.pages", 1),
        ("from heapwright import cli, tunnel", "heapwright.compiler.bits", 2),
        ("from heapwright.trace.store import Trace", "heapwright.errors", 1),
        ("from heapwright.compiler import kernel", "heapwright.trace.store", 0),
        (
            "from . import registry\nfrom .registry import named",
            "heapwright.managers.malloc.glibc.manager",
            0,
        ),
        ("from heapwright.result import Result\nimport numpy", "heapwright.compiler.bits", 0),
        ("from heapwright import __version__", "heapwright.tunnel.loop", 0),
    ],
)
def test_an_upward_arrow_is_found(source, module, arrows):
    assert len(list(upward_arrows(source, module))) == arrows


@pytest.mark.parametrize(
    ("source", "module", "named"),
    [
        ("from numba import njit", "heapwright.managers.textbook.linear.manager", True),
        ("import numba as nb", "heapwright.tunnel.loop", True),
        ("from numba.extending import intrinsic", "heapwright.machine.pages", True),
        ("from numba import njit", "heapwright.compiler.compiled", False),
        ("from heapwright.compiler import kernel", "heapwright.tunnel.loop", False),
    ],
)
def test_numba_outside_the_compiler_is_found(source, module, named):
    assert names_numba(source, module) is named


def test_a_circle_is_found():
    sources = {
        "p.a": "from p import b\nif x:\n    import p.c",
        "p.b": "def late():\n    import p.a\nfrom p.d import thing",
        "p.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a",
        "p.d": "try:\n    from .e import thing\nexcept ImportError:\n    thing = None",
        "p.e": "class E:\n    from . import b",
        "p.f": "import p.g",
        "p.g": "import p.f, os",
    }
    needs = {name: imported_at_once(text, name, sources) for name, text in sources.items()}
    assert needs["p.a"] == {"p.b", "p.c"} and needs["p.b"] == {"p.d"}
    assert circles(needs) == {("p.a", "p.c"), ("p.b", "p.d", "p.e"), ("p.f", "p.g")}


def test_a_circle_of_c_is_found():
    include = '#include "x.h"\n'
    sources = {
        "x.h": "int one(void);\nvoid two(int);\nchar *three(void);",
        "a.c": include
        + "int one(void)\n{\n    return two(1);\n}\nstatic int mine(int x) { malloc(x); }",
        "b.c": include + "_Noreturn void two(int i) { three(); mine(i); }",
        "c.c": include + "char *three(void) { return one(); }",
        "d.c": include
        + "int four(void) { return one(); }\nstatic int mine(int x) { return three(); }",
        "e.c": "void *malloc(int x) { return one(); }",
    }
    assert circles(functions_needed(sources)) == {("a.c", "b.c", "c.c")}


@pytest.mark.parametrize(
    "name", ["first_fit", "next_fit", "best_fit", "worst_fit", "half_fit", "tlsf"]
)
def test_a_policy_takes_fifty_lines(name):
    """What README says: what managers of a kind share is said once, in `allocators/`."""
    source = (PACKAGE / "managers" / "textbook" / name / "manager.py").read_text()
    assert len(source.splitlines()) <= 50


def folder_of(module):
    """The folder of a manager that a module lies in, as `textbook.linear`; "" of any other."""
    parts = module.split(".")
    return ".".join(parts[2:4]) if parts[:2] == ["heapwright", "managers"] and parts[4:] else ""


@pytest.mark.parametrize("path", sorted((PACKAGE / "managers").glob("*/*/*.py")), ids=label)
def test_a_manager_imports_no_other(path):
    """Only its ground, and that through the contract: by a card's name, bound below it."""
    own = folder_of(module_name(path))
    assert own
    others = {folder_of(target) for target in imported_modules(path.read_text(), module_name(path))}
    assert others <= {own, ""}


def test_another_managers_folder_is_told():
    assert folder_of("heapwright.managers.malloc.glibc.bins") == "malloc.glibc"
    assert folder_of("heapwright.managers.registry") == folder_of("heapwright.machine.gaps") == ""
