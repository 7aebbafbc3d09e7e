"""The site: made from what is there, whole, and with nothing fetched from the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*"
)
IN_STYLES = re.compile(r"url\([\"']?(?:https?:)?//[^)]*|@import[^;]*https?:[^;]*")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "HEAPWRIGHT_INTERPRET": "1", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_fetches_anything_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    found = [(page.name, hit) for page in pages for hit in FETCHED.findall(page.read_text())]
    found += [
        (style.name, hit)
        for style in site.rglob("*.css")
        for hit in IN_STYLES.findall(style.read_text())
    ]
    assert [hit for hit in found if 'rel="canonical"' not in hit[1]] == []


def test_every_command_manager_and_knob_has_its_place(site):
    from heapwright.cli import COMMANDS
    from heapwright.managers import managers

    commands = (site / "reference/commands.html").read_text()
    assert all(f'id="{name}"' in commands for name in COMMANDS)
    page = (site / "reference/managers.html").read_text()
    for name, manager in managers().items():
        assert f'id="{name}"' in page
        for knob in manager.module.Config._fields:
            assert f"<code>{knob}</code>" in page, f"{name}.{knob}"


def test_every_document_is_in_the_site(site):
    for path in (ROOT / "docs").rglob("*.md"):
        assert (site / path.relative_to(ROOT / "docs")).with_suffix(".html").exists(), path


def test_the_notebook_shows_what_its_cells_show(site):
    page = (site / "tutorials/notebook.html").read_text()
    assert "would hold" in page or "holds the least" in page
    assert page.count("notebook-output") >= 6
