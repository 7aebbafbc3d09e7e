"""What lies in an array of unlike words has names: no collector's part indexes one by a constant.

`fields[LIMIT]` was word 0, 1, 2 or 5, by module, and nothing told a wrong import.
"""

import ast
from pathlib import Path

import pytest

import heapwright
from heapwright.managers import managers

HOUSE = Path(heapwright.__file__).parent
COLLECTED = [
    HOUSE.parent / (manager.module_path.replace(".", "/") + ".py")
    for manager in managers().values()
    if manager.family == "textbook" and manager.collected
]
SOURCES = [*sorted((HOUSE / "collectors").glob("*.py")), *COLLECTED]


def indexed_by_constants(source):
    """Lines on which words of an array called `fields` are picked by a constant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript):
            whose = getattr(node.value, "attr", getattr(node.value, "id", ""))
            index = getattr(node.slice, "attr", getattr(node.slice, "id", ""))
            if whose == "fields" and index.isupper():
                yield node.lineno


def test_there_are_sources():
    assert len(COLLECTED) >= 7 and all(path.is_file() for path in COLLECTED)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_words_are_named(path):
    assert list(indexed_by_constants(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("heap.pace.fields[GOAL] += 1", [1]),
        ("x = 1\nfields[pace.LIMIT] = x", [2]),
        ("marking.fields[unsigned(i)]", []),
        ("pace.goal += totals[GOAL]", []),
    ],
)
def test_an_index_is_found(source, lines):
    assert list(indexed_by_constants(source)) == lines
