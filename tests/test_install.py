"""The wheel: what is in it, and that it runs where nothing may be written and nobody has a home."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "heapwright"
NOBODY = "65534"


def run(words, **options):
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, timeout=250, **options
    )


def done(words, **options):
    ended = run(words, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


@pytest.fixture(scope="module")
def folder():
    """A folder that other users can read, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="heapwright-install-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def wheel(folder):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done([*pip, "--wheel-dir", folder, ROOT])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(folder, wheel):
    """A fresh environment with the wheel; what it depends on is lent by the one that runs this."""
    venv = folder / "venv"
    done([sys.executable, "-m", "venv", "--without-pip", venv])
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", venv / "bin/python", "install"]
    done([*pip, "--no-deps", "--no-index", wheel])
    (packages,) = venv.glob("lib/python*/site-packages")
    lenders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "lent.pth").write_text("\n".join(lenders) + "\n")
    return venv


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    for path in SOURCES.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert f"heapwright/{path.relative_to(SOURCES)}" in names
    if shutil.which("cc"):
        assert "heapwright/trace/recorder/prebuilt/recorder.so" in names
        assert wheel.name.endswith("linux_x86_64.whl") or "none-any" not in wheel.name


def test_the_sources_can_be_packed(folder):
    """As a source distribution, from which the wheel can be built again."""
    code = "from hatchling.build import build_sdist; import sys; print(build_sdist(sys.argv[1]))"
    done([sys.executable, "-c", code, folder], cwd=ROOT)
    (packed,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(packed, folder / "sdist")
    (unpacked,) = (folder / "sdist").iterdir()
    for name in ("hatch_build.py", "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"):
        assert (unpacked / name).exists(), name


def test_it_runs_where_it_is_installed(installed, tmp_path):
    heapwright = installed / "bin/heapwright"
    assert done([heapwright, "--version"], cwd=tmp_path).stdout.startswith("heapwright ")
    assert "first-fit" in done([heapwright, "managers"], cwd=tmp_path).stdout
    done([heapwright, "synthesise", "ramp", "--events", "2k", "-o", "t"], cwd=tmp_path)
    shown = done([heapwright, "compare", "t", "--managers", "linear"], cwd=tmp_path).stdout
    assert "linear" in shown and "Memory" in shown
    where = [installed / "bin/python", "-c", "import heapwright; print(heapwright.__file__)"]
    assert done(where, cwd=tmp_path).stdout.startswith(str(installed))


def test_nobody_runs_every_command_without_a_home(installed, folder):
    """Another user, no home, nothing of the installation writable: a hardened container."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become nobody")
    for path in [installed, *installed.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    work = folder / "work"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    reading = "+dac_read_search"  # the interpreter may lie in root's home; writing stays refused
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += [f"--inh-caps={reading}", f"--ambient-caps={reading}", "env", "-i"]
    known = ["HOME=/nonexistent", f"PATH={installed / 'bin'}:/usr/bin:/bin", f"TMPDIR={work}"]
    if run([*become, *known, installed / "bin/python", "-c", "import numba"]).returncode:
        pytest.skip("nobody cannot read the environment that lends its packages")
    interpreted = "HEAPWRIGHT_INTERPRET=1"  # compiling for a new user would take minutes
    for line in (
        "--version",
        "managers",
        "cache",
        "synthesise ramp --events 300 -o t.heap.parquet",
        "info t.heap.parquet",
        "export t.heap.parquet --to csv -o t.csv",
        "import t.csv -o u.heap.parquet",
        "replay glibc t.heap.parquet",
        "compare t.heap.parquet --managers first-fit --html page.html",
        "lower-bound t.heap.parquet",
        "worst-case first-fit --live 4 --ratio 2",
        "record -o r.heap.parquet -- ls /",
        "cache --clear",
    ):
        ended = done([*become, *known, interpreted, "heapwright", *line.split()], cwd=work)
        if "cannot be written to" in ended.stderr:
            assert "HEAPWRIGHT_CACHE names another folder" in ended.stderr


def test_without_a_compiler_it_records_or_says_what_to_do(installed, tmp_path):
    """The wheel brings a recorder; one that was built without says so in a sentence."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "true").symlink_to("/bin/true")
    surroundings = {"PATH": str(tools), "HEAPWRIGHT_CACHE": str(tmp_path / "cache")}
    surroundings |= {"HEAPWRIGHT_INTERPRET": "1", "HOME": str(tmp_path)}
    words = [installed / "bin/heapwright", "record", "-o", tmp_path / "t", "--", "true"]
    (brought,) = installed.glob(
        "lib/python*/site-packages/heapwright/trace/recorder/prebuilt/recorder.so"
    )
    ended = run(words, env=surroundings)
    assert "Traceback" not in ended.stderr
    assert "no C compiler" not in ended.stderr
    assert brought.exists()
    bare = tmp_path / "bare"
    shutil.copytree(brought.parents[3], bare / "heapwright")
    (bare / "heapwright/trace/recorder/prebuilt/recorder.so").unlink()
    python = [installed / "bin/python", "-m", "heapwright", *words[1:]]
    ended = run(python, env=surroundings | {"PYTHONPATH": str(bare)})
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "install gcc or clang" in ended.stderr


ELSEWHERE = """
import mmap, multiprocessing, os, signal, sys, sysconfig
sysconfig.get_config_vars()
import concurrent.futures, ctypes, multiprocessing.connection, subprocess, uuid
import numpy, pyarrow.parquet, pyarrow.csv, rich.console, typer.testing  # know their system
plain = mmap.mmap  # elsewhere address space is not counted as memory; here only when told
mmap.mmap = lambda file, length: plain(file, length, flags=0x4022)  # private, anonymous, unreserved
sys.platform = "PLATFORM"
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "memfd_create", "getuid", "geteuid", "setpgid", "killpg"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGCHLD", "SIGPIPE"):
    if sys.platform == "win32":
        delattr(signal, name)

import heapwright as hw
from heapwright.trace.importers import FORMATS

assert FORMATS
open("t.csv", "w").write("op,object,size\\nmalloc,1,100\\nmalloc,2,200\\nfree,1,\\n")
"""


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_traces_are_imported_and_replayed_on_other_systems(platform, tmp_path):
    """As far as one system can play another: its name, and what only Linux has is not there."""
    code = ELSEWHERE.replace("PLATFORM", platform) + (
        "sys.argv = ['heapwright', 'import', 't.csv', '-o', 't.heap.parquet']\n"
        "from heapwright.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "result = hw.replay('first-fit', 't.heap.parquet')\n"
        "assert result.peak['resident_bytes'] == 8192, result.peak\n"
        "try: hw.record(['true'])\n"
        "except hw.HeapwrightError as error: print(error)\n"
    )
    surroundings = {**os.environ, "HEAPWRIGHT_INTERPRET": "1"}
    ended = done([sys.executable, "-c", code], cwd=tmp_path, env=surroundings)
    assert "cannot record" in ended.stdout
