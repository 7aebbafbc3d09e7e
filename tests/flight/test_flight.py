"""Managers in flight: a C program that tries everything, and real ones that say what they say."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.flight.bind import bound
from heapwright.flight.build import build
from heapwright.flight.session import fly, unserved
from heapwright.flight.statistics import read_records
from heapwright.managers.registry import managers, named

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
]


def output(library: Path, *command: str) -> str:
    environment = {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


MANAGERS = [
    "linear",
    "first-fit",
    "segregated-fit",
    "buddy",
    "slots",
    "glibc",
    "wright",
    "tcmalloc",
    "jemalloc",
]


@pytest.fixture(scope="session")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C stress program, built."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("stress") / "stress"
    source = Path(__file__).with_name("stress.c")
    flags = ["-O2", "-Wall", "-Wno-use-after-free", "-fno-builtin", "-pthread"]
    subprocess.run(["cc", *flags, "-o", str(program), str(source)], check=True)
    return program


@pytest.mark.parametrize("manager", MANAGERS)
def test_under_stress(manager: str, stress: Path) -> None:
    """8 threads, forks and thread exits under load, every entry point, every refusal."""
    assert output(build(manager), str(stress), "4000", "8", "2") == ""


# All that say they fly; those above are built anyhow. The stack serves no program: it overflows.
ALL = [n for n, m in managers().items() if m.card.flies and "malloc" in m.card.serves]


@pytest.mark.parametrize("manager", [*ALL, "first-fit over glibc"])
def test_ls_lists(manager: str) -> None:
    library = build(manager)
    assert library.stat().st_size < 200_000
    assert output(library, "ls", "/") == subprocess.check_output(
        ["ls", "/"], text=True, env={"LC_ALL": "C"}
    )


def test_the_exit_status_is_passed_on() -> None:
    library = build("linear")
    assert fly(library, ["sh", "-c", "exit 7"])[0] == 7
    assert fly(library, ["sh", "-c", "kill -9 $$"])[0] == 128 + 9


@pytest.mark.parametrize("manager", ["segregated-fit", "wright"])
def test_an_address_space_limit_refuses_what_it_refuses_any_program(manager: str) -> None:
    library = build(manager)
    limited = ["sh", "-c", "ulimit -v 200000; exec perl -e 'my $x = q(x) x 1e6; print length $x'"]
    assert output(library, *limited) == "1000000"
    greedy = "ulimit -v 200000; exec perl -e 'my $x = q(x) x 4e8; print length $x' 2>&1"
    said = subprocess.run(
        ["sh", "-c", greedy],
        env={"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode and "Out of memory" in said.stdout


def test_statistics_say_what_each_resident_byte_is(tmp_path: Path) -> None:
    library = build("segregated-fit", statistics=True)
    account = bound(named("segregated-fit"), "account")
    command = ["perl", "-e", "our @a = map { q(x) x 1000 } 1 .. 3000; exit 0"]
    environment = {**os.environ, account.VARIABLE: str(tmp_path)}
    status, process = fly(library, ["sh", "-c", f"{shlex.join(command)}; exit 5"], environment)
    assert status == 5
    (perl,) = read_records(tmp_path, account)
    assert perl.program.endswith("perl") and perl.parent == process
    assert sum(perl.parts.values()) == perl.resident_bytes > 3_000_000
    assert perl.parts["live_bytes"] > 3_000_000 and perl.objects > 3_000
    assert perl.paths["alloc"] > 3_000
    assert perl.mapped_bytes_peak >= perl.mapped_bytes >= perl.resident_bytes


def test_a_manager_with_a_collector_cannot_fly() -> None:
    with pytest.raises(HeapwrightError, match="has a collector"):
        build("mark-sweep")


def test_without_a_linker_a_sentence_names_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = build("linear")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert build("linear") == kept, "what is kept needs none"
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(HeapwrightError, match="install binutils"):
        build("linear")


def test_nothing_of_python_is_left_in_an_object() -> None:
    library = build("segregated-fit")
    lines = subprocess.check_output(["nm", "-D", str(library)], text=True).splitlines()
    names = {True: set(), False: set()}  # by whether the object defines them
    for line in lines:
        *_, kind, name = line.split()
        names[kind in "TDB"].add(name)
    assert {"malloc", "free", "reallocarray", "pvalloc", "mallinfo2", "malloc_trim"} <= names[True]
    assert {"mallinfo", "mallopt", "malloc_info", "malloc_stats"} <= names[True]
    of_the_c_library = {
        *("memcpy", "memset", "__errno_location", "__libc_single_threaded"),
        *("pthread_key_create", "pthread_setspecific", "__register_atfork"),
    }
    assert names[False] <= of_the_c_library


def compiled(source: str, path: Path, *flags: str) -> Path:
    (path.with_suffix(".c")).write_text(source)
    subprocess.run(["cc", "-o", path, path.with_suffix(".c"), *flags], check=True)
    return path


def test_a_program_that_nothing_can_be_preloaded_into_is_refused(tmp_path: Path) -> None:
    program = compiled("int main(void) { return 0; }", tmp_path / "alone", "-static")
    with pytest.raises(HeapwrightError, match="alone is statically linked, so no manager can be"):
        fly(build("linear"), [str(program)])
    script = tmp_path / "script"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    with pytest.raises(HeapwrightError, match="alone is statically linked"):
        fly(build("linear"), [str(script)])


def test_an_allocator_of_its_own_is_told(tmp_path: Path) -> None:
    own = "void *je_malloc(unsigned long n) { return 0; } int main(void) { return !je_malloc; }"
    program = compiled(own, tmp_path / "own")
    assert "brings an allocator of its own (jemalloc)" in unserved(str(program))
    assert unserved(shutil.which("sh") or "sh") == ""
    assert fly(build("linear"), [str(program)])[0] == 0
