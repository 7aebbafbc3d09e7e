"""The cache: where it is, what is swept, what is cleared."""

import os
import subprocess
import sys
import time

import pytest

from heapwright import cache


@pytest.fixture(autouse=True)
def fresh():
    cache._home.cache_clear()
    cache.kernels.cache_clear()
    yield
    cache._home.cache_clear()
    cache.kernels.cache_clear()


def filled(path, size=100, days=0):
    path.mkdir(parents=True)
    (path / "code").write_bytes(b"x" * size)
    old = time.time() - days * 24 * 3600
    os.utime(path, (old, old))
    return path


def test_the_chosen_folder_wins_then_xdg_then_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_home() == tmp_path / "chosen"
    monkeypatch.delenv("HEAPWRIGHT_CACHE")
    assert cache.cache_home() == tmp_path / "xdg" / "heapwright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_home() == tmp_path / "home" / ".cache" / "heapwright"


def test_without_a_writable_home_a_private_folder_and_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.delenv("HEAPWRIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    home = cache.cache_home()
    assert home.parent == tmp_path / "tmp" and home.stat().st_mode & 0o777 == 0o700
    assert cache.cache_home() == home
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "HEAPWRIGHT_CACHE names another folder" in said


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv("HEAPWRIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"heapwright-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert cache.cache_home() != planted


def test_a_command_runs_without_a_home(tmp_path):
    """As in a hardened container: no home, nothing of ours can be written there."""
    known = {"PATH": os.environ["PATH"], "HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    for words in (["managers"], ["--version"], ["synthesise", "ramp", "-o", tmp_path / "t"]):
        done = subprocess.run(
            [sys.executable, "-m", "heapwright", *map(str, words)],
            env=known,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_what_was_not_used_is_swept(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path))
    old = filled(tmp_path / "kernels/a/old", days=40)
    new = filled(tmp_path / "kernels/a/new", days=20)
    loop = filled(tmp_path / "kernels/a/loops/old", days=40)
    assert cache.sweep(30 * 24 * 3600) == 200
    assert not old.exists() and not loop.exists() and new.exists()


def test_clearing_removes_what_is_kept_and_nothing_else(tmp_path):
    filled(tmp_path / "kernels/a/b", 1000)
    filled(tmp_path / "flight/c", 500)
    mine = filled(tmp_path / "photographs")
    rows = {row.what: row for row in cache.contents(tmp_path)}
    assert rows["kernels"].bytes == 1000 and rows["flight"].entries == 1
    assert cache.clear(tmp_path) == 1500
    assert mine.exists() and not (tmp_path / "kernels").exists()


MAKE = """
import sys, time
from pathlib import Path
from heapwright.cache import alone

made = Path(sys.argv[1]) / "made"
with alone(made.parent):
    if not made.exists():
        time.sleep(0.3)
        made.touch()
        print("made")
"""
HOLD = "import sys; from heapwright.cache import *; from pathlib import Path\n"
HOLD += "with alone(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"


def started(program, folder):
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_two_processes_need_at_once_is_made_once(tmp_path):
    both = [started(MAKE, tmp_path / "new") for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == ["", "made\n"]


def test_nobody_waits_for_ever_nor_for_what_has_ended(tmp_path, monkeypatch):
    holder = started(HOLD, tmp_path)
    holder.stdout.readline()
    slept, sleep = [], time.sleep
    monkeypatch.setattr(cache.time, "sleep", lambda seconds: slept.append(sleep(seconds)))
    monkeypatch.setattr(cache, "PATIENCE_SECONDS", 0.05)
    with cache.alone(tmp_path):
        waited = len(slept)
        assert waited and holder.poll() is None
    holder.kill()
    holder.communicate()
    with cache.alone(tmp_path), cache.alone(tmp_path / "file" / "none"):
        assert len(slept) == waited
    with cache.alone(tmp_path / ".lock"):  # no folder: nothing to wait for
        assert len(slept) == waited
