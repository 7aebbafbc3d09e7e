"""Real programs in flight say what they always say, keep what they are given, pass their tests."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.flight.build import build
from heapwright.flight.session import fly

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
]

MANAGERS = ["segregated-fit", "wright"]


@pytest.mark.parametrize("manager", MANAGERS)
def test_real_programs_say_what_they_always_say(manager: str, tmp_path: Path) -> None:
    commands = {
        "sqlite3": "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1"
        " from n where i < 9000) insert into t select i % 7, hex(i) from n;"
        " select a, count(*), max(b) from t group by a order by a",
        "lua5.4": "local t = {} for i = 1, 20000 do t[i] = ('x'):rep(i % 50) .. i end"
        " print(#table.concat(t, ','))",
        "perl": "my %h; $h{$_ % 9973} .= $_ for 1 .. 60000; print join ',', sort keys %h",
        "python3": "import json; a = [{'a': [i] * 9} for i in range(999)];"
        " print(json.loads(json.dumps(a)))",
    }
    flags = {"sqlite3": [":memory:"], "lua5.4": ["-e"], "perl": ["-e"], "python3": ["-c"]}
    library = build(manager)
    for program, text in commands.items():
        path = shutil.which(program, path="/usr/bin:/bin")
        if path:
            command = [path, *flags[program], text]
            environment = {"PYTHONMALLOC": "malloc"}
            expected = subprocess.check_output(command, text=True, env=environment)
            environment["LD_PRELOAD"] = str(library)
            assert subprocess.check_output(command, text=True, env=environment) == expected


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_compiler_and_the_programs_that_it_starts_fly(manager: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    source = tmp_path / "map.cc"
    source.write_text(
        "#include <map>\n#include <string>\n#include <cstdio>\n"
        "int main() { std::map<std::string, int> m; for (int i = 0; i < 999; i++)"
        ' m[std::to_string(i * 7919 % 1000)] += i; std::printf("%zu\\n", m.size()); }\n'
    )
    command = [compiler, "-O1", "-o", str(tmp_path / "map"), str(source)]
    library = build(manager)
    assert fly(library, command)[0] == 0
    environment = {"LD_PRELOAD": str(library)}
    assert subprocess.check_output([tmp_path / "map"], text=True, env=environment) == "999\n"


@pytest.mark.parametrize("manager", MANAGERS)
def test_git_keeps_a_history(manager: str, tmp_path: Path) -> None:
    git = shutil.which("git")
    if not git:
        pytest.skip("git is not installed")
    library = build(manager)
    environment = {"LD_PRELOAD": str(library), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    commands = [
        "init -q",
        "config user.email a@b.c",
        "config user.name a",
        "add .",
        "commit -qm one",
        "fsck --full",
        "gc -q",
        "log --stat",
    ]
    for number in range(200):
        (tmp_path / f"file{number}").write_text(f"{number}\n" * number)
    for command in commands:
        said = subprocess.run(
            [git, *command.split()], cwd=tmp_path, env=environment, capture_output=True, check=True
        ).stdout
    assert b"200 files changed, 19900 insertions" in said


@contextmanager
def redis(folder: Path, library: Path | None) -> Iterator[list[str]]:
    """A redis server of a folder, preloaded with `library`; the start of a command to it."""
    socket = str(folder / "socket")
    serve = ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", str(folder)]
    environment = os.environ | ({"LD_PRELOAD": str(library)} if library else {})
    options = ["--save", "", "--enable-debug-command", "yes"]
    with subprocess.Popen([*serve, *options], env=environment, stdout=subprocess.DEVNULL) as server:
        client = ["redis-cli", "-s", socket]
        try:
            until(lambda: told([*client, "ping"]) == "PONG")
            yield client
        finally:
            server.terminate()


def told(command: list[str]) -> str:
    """What a command says, whether or not it succeeds."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def until(holds) -> None:
    """Wait for it, half a minute at most."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis is not installed")
@pytest.mark.parametrize("manager", MANAGERS)
def test_redis_saves_what_it_serves(manager: str, tmp_path: Path) -> None:
    """Under load, a child writes all to a file; a server without us reads the same from it."""
    with redis(tmp_path, build(manager)) as client:
        load = ["redis-benchmark", *client[1:], "-q", "-n", "20000", "-P", "16", "-r", "5000"]
        tests = "set,incr,lpush,lpop,sadd,hset,zadd,mset"
        subprocess.run([*load, "-d", "300", "-t", tests], stdout=subprocess.DEVNULL, check=True)
        told([*client, "bgsave"])
        until(lambda: "rdb_bgsave_in_progress:0" in told([*client, "info", "persistence"]))
        digest, keys = told([*client, "debug", "digest"]), told([*client, "dbsize"])
    assert int(keys) > 5000
    with redis(tmp_path, None) as client:
        assert told([*client, "debug", "digest"]) == digest
        assert told([*client, "dbsize"]) == keys


@pytest.mark.skipif(not importlib.util.find_spec("test.test_dict"), reason="Python without tests")
@pytest.mark.parametrize("manager", MANAGERS)
def test_python_passes_its_own_tests(manager: str, tmp_path: Path) -> None:
    modules = ["test_json", "test_dict", "test_list", "test_mmap", "test_bytes", "test_re"]
    done = subprocess.run(
        [sys.executable, "-m", "test", *modules],
        cwd=tmp_path,
        env=os.environ | {"LD_PRELOAD": str(build(manager)), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"All {len(modules)} tests OK." in done.stdout
