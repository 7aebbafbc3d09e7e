"""The magic of a notebook, in a real kernel: table and page below the cell."""

import platform
import re
import sys
from html import unescape

import nbclient
import nbformat
import pytest

from heapwright.compiler import INTERPRETED

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or platform.machine() != "x86_64",
        reason="a process is recorded by itself on x86-64 Linux only",
    ),
    pytest.mark.skipif(INTERPRETED, reason="the recorder is C"),
]
CELLS = [
    "%load_ext heapwright\nbefore = 20_000",
    '%%heapwright --managers "pymalloc over glibc,glibc"\n'
    "words = [str(number) for number in range(before)]\nlen(words)",
    "len(words) + 1",
    "%%heapwright --no-page --managers frob\nx = 1",
    "%%heapwright\n1 / 0",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        book,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
    )
    return client.execute().cells


def test_a_cell_runs_in_the_notebook_and_has_its_table_and_page_below(cells):
    texts = [one["data"] for one in cells[1].outputs if "data" in one]
    assert texts[0]["text/plain"] == "20000"
    shown = texts[1]["text/html"]
    assert "pymalloc over glibc" in shown
    assert "glibc" in shown
    page = unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert 'sandbox="allow-scripts"' in shown
    assert "words = [str(number) for number in range(before)]</h1>" in page  # not the kernel's


def test_what_a_cell_made_stays_in_the_notebook(cells):
    assert cells[2].outputs[0]["data"]["text/plain"] == "20001"


def test_mistakes_are_sentences(cells):
    (told,) = [one for one in cells[3].outputs if one.output_type in ("stream", "error")]
    said = told.get("text", "") + told.get("evalue", "")
    assert "no manager is named 'frob'" in said


def test_the_error_of_a_cell_is_the_cells(cells):
    assert any(one.get("ename") == "ZeroDivisionError" for one in cells[4].outputs)
    assert not any("data" in one for one in cells[4].outputs)
    said = "".join(one.get("text", "") + one.get("evalue", "") for one in cells[4].outputs)
    assert "the cell raised ZeroDivisionError: nothing is compared" in said
