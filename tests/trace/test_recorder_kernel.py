"""Recording the running kernel, with a folder that looks like tracefs in its place."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file
from heapwright.trace.recorder import kernel
from heapwright.trace.store import Trace

RAW = (Path(__file__).parents[2] / "fuzz" / "corpus" / "ring_pages.bin").read_bytes()
LAYOUTS, _, PAGES = RAW.partition(b"MARK RAW\n")


@pytest.fixture
def tracefs(tmp_path, monkeypatch):
    """Making an instance makes its files, as the kernel does; taking it away takes them away."""
    root = tmp_path / "tracing"
    for block in LAYOUTS.decode().split("name: ")[1:]:
        folder = root / "events" / "kmem" / block.partition("\n")[0]
        folder.mkdir(parents=True)
        (folder / "format").write_text(f"name: {block}")
    (root / "instances").mkdir()
    real, told = Path.mkdir, []

    def mkdir(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if self.parent == root / "instances":
            told.append(self)
            for cpu in range(2):
                real(self / "per_cpu" / f"cpu{cpu}", parents=True)
                half = PAGES[4096 * cpu : 4096 * (cpu + 1)]
                (self / "per_cpu" / f"cpu{cpu}" / "trace_pipe_raw").write_bytes(half)
            for name in ("kmalloc", "kfree"):
                real(self / "events" / "kmem" / name, parents=True)

    def rmdir(self):
        told.append((self / "events" / "kmem" / "kfree" / "enable").read_text())
        told.append((self / "events" / "enable").read_text())
        told.append((self / "tracing_on").read_text())

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    return root, told


def test_pages_of_every_processor_become_a_trace(tracefs, tmp_path):
    root, told = tracefs
    shares = []
    kernel.record_kernel(tmp_path / "k.parquet", 0.0, shares.append, (root,))
    trace = Trace.open(tmp_path / "k.parquet")
    assert (trace.events, trace.allocations, trace.of_kernel) == (6, 3, True)
    assert told[0].name == f"heapwright-{os.getpid()}" and told[1:] == ["1", "0", "0"]
    assert sum(shares) == pytest.approx(1)


def test_without_tracefs_it_is_one_sentence(tmp_path):
    with pytest.raises(HeapwrightError, match="shows no kernel tracing"):
        kernel.tracefs((tmp_path / "none",))
    if not any((place / "events").is_dir() for place in kernel.PLACES):
        out = tmp_path / "k.parquet"
        ended = CliRunner().invoke(app, ["record", "--kernel", "--for", "1s", "-o", str(out)])
        assert ended.exit_code == 1 and not out.exists()
        assert "shows no kernel tracing" in ended.output or "as root" in ended.output
        assert len(ended.output.strip().splitlines()) <= 3


def test_a_forbidden_tracefs_is_one_sentence(tracefs, monkeypatch):
    root, _ = tracefs
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HeapwrightError, match="may not be written by this user"):
        kernel.tracefs((root,))


def test_how_long_must_be_said():
    ended = CliRunner().invoke(app, ["record", "--kernel"])
    assert ended.exit_code == 1 and "say --for how long" in " ".join(ended.output.split())


def test_the_documents_line_for_raw_pages_is_what_the_importer_reads(tmp_path):
    """The shell's line of docs/linux.md, on a folder that looks like tracefs."""
    page = (Path(__file__).parents[2] / "docs" / "linux.md").read_text()
    (line,) = [each[2:] for each in page.splitlines() if each.startswith("$ (cat /sys/")]
    root = tmp_path / "tracing"
    for block in LAYOUTS.decode().split("name: ")[1:]:
        folder = root / "events" / "kmem" / block.partition("\n")[0]
        folder.mkdir(parents=True)
        (folder / "format").write_text(f"name: {block}")
    for cpu in range(len(PAGES) // 4096):
        folder = root / "per_cpu" / f"cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "trace_pipe_raw").write_bytes(PAGES[4096 * cpu : 4096 * (cpu + 1)])
    subprocess.run(
        ["sh", "-c", line.replace("/sys/kernel/tracing", str(root))], cwd=tmp_path, check=True
    )
    whole = tmp_path / "whole.raw"
    whole.write_bytes(RAW)
    found = []
    for path in (tmp_path / "kernel.raw", whole):
        import_file(path, path.with_suffix(".parquet"))
        found.append(Trace.open(path.with_suffix(".parquet")))
    assert found[0].events == found[1].events > 0
    assert found[0].doors() == found[1].doors()
