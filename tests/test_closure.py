"""What a module depends on, and that what was compiled is made anew when that changes."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import heapwright
from heapwright import closure
from heapwright.compiler import INTERPRETED
from heapwright.managers.textbook.linear import manager as linear

HOUSE = Path(heapwright.__file__).parent
SOURCES = ("flight/interface.py", "tunnel/graph_loop.py", "managers/malloc/glibc/manager.py")
PRINTING = """
{before}
import sys
from pathlib import Path
from heapwright.closure import digest
for name in sys.argv[1:]:
    print(digest(Path(name)))
print("numba" in sys.modules)
"""


@pytest.fixture(autouse=True)
def unremembered():
    for function in (closure.digest, closure._imports, closure._file, closure._is_package):
        function.cache_clear()
    yield
    for function in (closure.digest, closure._imports, closure._file, closure._is_package):
        function.cache_clear()


def tree(root, sources):
    """Files below `root`, by their paths without .py."""
    for name, text in sources.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def dependences(root, path):
    return {str(source.relative_to(root)) for source in closure.sources_of(root / path)}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from . import other", {"pack/other.py", "pack/__init__.py"}),
        ("from .other import name", {"pack/other.py"}),
        ("from .deep import inner, CONSTANT", {"pack/deep/inner.py"}),
        ("from .deep.inner import (\n    one,  # a comment\n    two,\n)", {"pack/deep/inner.py"}),
        ("from ..beside import name", {"beside.py"}),
        ("from .. import beside", {"beside.py"}),
        ("from .other import \\\n    name", {"pack/other.py"}),
        ("try:\n    from .other import name\nexcept ImportError:\n    pass", {"pack/other.py"}),
        ("if WANTED:\n    from .other import name", {"pack/other.py"}),
        ("class K:\n    from .other import name", {"pack/other.py"}),
        ("if TYPE_CHECKING:\n    from .other import name", set()),
        ("if typing.TYPE_CHECKING:\n    from .other import name", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from .other import name", {"pack/other.py"}),
        ("def late():\n    from .other import name", set()),
        ("def late(\n    one,\n):\n    if one:\n        from .other import name", set()),
        ("from .missing import name", set()),
        ("import numpy, os.path as path", set()),
    ],
)
def test_what_an_import_line_depends_on(tmp_path, line, found):
    others = ("pack/__init__", "pack/other", "pack/deep/inner", "beside")
    tree(tmp_path, {**dict.fromkeys(others, ""), "pack/main": line})
    assert dependences(tmp_path, "pack/main.py") == found | {"pack/main.py"}


def test_absolute_imports_of_packages_with_and_without_init(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    sources = {
        "closure_pack/__init__": "SIZE = 1",
        "closure_pack/part": "",
        "closure_space/part": "from closure_space import other",  # a namespace package
        "closure_space/other": "",
        "one": "import closure_pack.part",
        "two": "from closure_space.part import name",
        "three": "from closure_space import part as p",
    }
    tree(tmp_path, sources)
    packaged = {"closure_pack/__init__.py", "closure_pack/part.py"}
    spaced = {"closure_space/part.py", "closure_space/other.py"}
    importlib.import_module("closure_pack.part")
    importlib.import_module("closure_space.part")
    for name, found in (("one", packaged), ("two", spaced), ("three", spaced)):
        monkeypatch.delitem(sys.modules, name, raising=False)
        assert dependences(tmp_path, f"{name}.py") == found | {f"{name}.py"}, name


def test_a_module_with_the_name_of_one_of_pythons(tmp_path, monkeypatch):
    """Python's are no dependences; one that stands before them in the path is."""
    text = "import queue\nfrom colorsys import ONE_THIRD"
    tree(tmp_path, {"main": text, "colorsys": "ONE_THIRD = 1"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert dependences(tmp_path, "main.py") == {"main.py", "colorsys.py"}


def test_the_first_of_two_modules_with_a_name_counts(tmp_path, monkeypatch):
    tree(tmp_path / "far", {"closure_sizes": "BYTES = 1"})
    main = {"closure_sizes": "BYTES = 2", "closure_main": "import closure_sizes"}
    tree(tmp_path / "near", main)
    monkeypatch.syspath_prepend(tmp_path / "far")
    monkeypatch.syspath_prepend(tmp_path / "near")
    found = closure.sources_of(tmp_path / "near/closure_main.py")
    assert tmp_path / "near/closure_sizes.py" in found
    assert tmp_path / "far/closure_sizes.py" not in found


def test_the_house_depends_on_what_it_imports_under_an_if():
    """`machine` takes its verbs from one of two modules."""
    names = {path.name for path in closure.sources_of(Path(linear.__file__))}
    assert {"address_space.py", "linux.py", "whole_program.py", "gaps.py"} <= names


MANAGER = '''"""A manager that rounds sizes up.  Invariant none  Source none"""
from heapwright.managers.textbook.linear.manager import *
from heapwright.managers.textbook.linear import manager as _linear
from heapwright.managers.card import Card
from heapwright.compiler import kernel
from .sizes import rounded

CARD = Card(summary="rounds", variants=())
extent, usable, free, check = _linear.extent, _linear.usable, _linear.free, _linear.check
cached, metadata, boot = _linear.cached, _linear.metadata, _linear.boot
PATHS, Config = _linear.PATHS, _linear.Config


@kernel
def alloc(heap, thread, size, align):
    """An address."""
    return _linear.alloc(heap, thread, rounded(size) + 0, align)
'''
SIZES = '''"""How sizes are rounded."""
from heapwright.compiler import kernel


@kernel
def rounded(size):
    """A whole number of 64 bytes."""
    return (size + 63) // 64 * 64
'''
PEAKS = """
import json, sys
from pathlib import Path
from heapwright.managers import named
from heapwright.tunnel.bind import bound_loop
from heapwright.machine import machine
from heapwright.trace.schema import MALLOC, events
import numpy as np

for name in ("rounding", "other"):
    manager = named(name)
    loop = bound_loop(manager)
    heap = manager.module.boot(machine(), manager.configured({}))
    run = loop.start(heap, 50)
    loop.replay(heap, run, events(op=[MALLOC] * 50, slot=range(50), size=[100] * 50))
    print(int(run.objects.address[49] - run.objects.address[0]))
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A package of two managers, installed as by pip: metadata and entry points beside it."""
    root = tmp_path_factory.mktemp("site")
    about = root / "roundings-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: roundings\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[heapwright.managers]\nrounding = roundings.one\nother = roundings.two\n"
    )
    sources = {
        "roundings/__init__": "",
        "roundings/one": MANAGER,
        "roundings/two": MANAGER.replace("from .sizes", "from .other_sizes"),
        "roundings/sizes": SIZES,
        "roundings/other_sizes": SIZES,
    }
    tree(root, sources)
    return root


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_an_edited_plugin_answers_with_its_new_code(plugin, tmp_path):
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(plugin), *sys.path])

    def strides():
        command = [sys.executable, "-c", PEAKS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [int(line) // 49 for line in done.stdout.split()]

    def compiled():
        """The loops that were compiled; what else is, is a kernel of numbers only."""
        return {path for path in tmp_path.rglob("*.nbc") if "_loop_" in path.name}

    def edit(name, old, new):
        path = plugin / "roundings" / f"{name}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    assert strides() == [128, 128]
    first = compiled()
    assert len(first) == 2, "a loop each"
    assert strides() == [128, 128] and compiled() == first
    edit("one", "rounded(size) + 0", "rounded(size) + 256")  # the manager itself
    assert strides() == [384, 128]
    second = compiled()
    (new,) = second - first
    assert "rounding" in new.name, "the other manager keeps its code"
    edit("sizes", "+ 63) // 64 * 64", "+ 1023) // 1024 * 1024")  # what it imports
    assert strides() == [1280, 128]
    (new,) = compiled() - second
    assert "rounding" in new.name


def digests(before: str) -> list[str]:
    """What a fresh process says that has done `before`."""
    paths = [str(HOUSE / name) for name in SOURCES]
    code = PRINTING.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_digest_is_the_same_whether_or_not_the_modules_are_imported():
    without = digests("")
    imported = digests("import heapwright.managers.malloc.glibc.manager, heapwright.tunnel.loop")
    assert without[:-1] == imported[:-1]
    assert without[-1] == "False"  # and finding out imported none of them


def test_the_compiler_and_what_a_module_imports_are_in_it():
    found = {path.relative_to(HOUSE) for path in closure.sources_of(HOUSE / SOURCES[2])}
    expected = ("compiler/compiled.py", "compiler/bare.py", "managers/malloc/glibc/core.py")
    assert {Path(name) for name in expected} <= found
    assert Path("managers/runtime/go/manager.py") not in found
