"""The root of the command line: quick, polite, and never a traceback for a person's mistake."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from heapwright import __version__, cli
from heapwright.cli.failures import Ended, sentences
from heapwright.errors import HeapwrightError

HEAPWRIGHT = [sys.executable, "-m", "heapwright"]
runner = CliRunner()


def run(*words, **options):
    return subprocess.run(
        [*HEAPWRIGHT, *words], capture_output=True, text=True, check=False, timeout=120, **options
    )


def test_help_lists_every_command_with_its_line():
    shown = runner.invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    rows = {line.split()[0]: line for line in shown.output.splitlines() if line.startswith("  ")}
    for name, line in cli.COMMANDS.items():
        assert line in rows[name]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_says_of_itself_what_the_root_says_of_it(name):
    function = cli.command_function(name)
    assert function.__doc__.splitlines()[0] == cli.COMMANDS[name]
    assert f"heapwright {name}" in function.__doc__, "an example is missing"
    shown = runner.invoke(cli.app, [name, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0 and cli.COMMANDS[name] in shown.output
    assert [line for line in shown.output.splitlines() if len(line) > 80] == []


def test_every_file_of_a_command_is_registered():
    folder = Path(cli.__file__).parent
    shared = {"__init__", "failures", "options", "screen", "settings"}
    files = {path.stem for path in folder.glob("*.py")} - shared
    assert files == {name.replace("-", "_").replace("import", "import_") for name in cli.COMMANDS}


def test_help_imports_nothing_heavy():
    check = (
        "import sys; from heapwright.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'rich', 'pyarrow', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version():
    assert run("--version").stdout == f"heapwright {__version__}\n"


def test_no_arguments_show_the_help():
    done = run()
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [["mangers"], ["--fly"], ["info"], ["managers", "--jsn"], ["info", "a", "b"]]
)
def test_an_unknown_word_is_typers_own_message(words):
    done = run(*words)
    assert done.returncode == 2 and "Usage:" in done.stderr and "Traceback" not in done.stderr


def raising(error):
    """Exit status and stderr of code that raises inside `sentences`."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        with sentences():
            raise error

    shown = runner.invoke(app, [])
    return shown.exit_code, shown.stderr, shown.exception


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (HeapwrightError("no wind."), 1, "heapwright: no wind.\n"),
        (KeyboardInterrupt(), 130, "heapwright: interrupted.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/full/t.parquet"),
            1,
            "heapwright: /full/t.parquet: the disk is full (No space left on device); "
            "free some space or write elsewhere.\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            1,
            "heapwright: /x: Permission denied.\n",
        ),
        (MemoryError(), 1, "heapwright: not enough memory"),
    ],
)
def test_failures_are_sentences(error, status, line):
    code, stderr, _ = raising(error)
    assert code == status and stderr.startswith(line) and stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGTERM, 143, "heapwright: ended by SIGTERM.\n"),
        (signal.SIGHUP, 129, "heapwright: ended by SIGHUP.\n"),
    ],
)
def test_a_signal_that_ends_it_is_told_and_what_was_begun_is_tidied(number, status, line):
    left, app = [], typer.Typer()

    @app.command()
    def wait() -> None:
        with sentences():
            try:
                signal.raise_signal(number)
            finally:
                left.append("tidy")

    shown = runner.invoke(app, [])
    assert (shown.exit_code, shown.stderr, left) == (status, line, ["tidy"])
    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(SystemExit), sentences():
        raise Ended(number)


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with sentences():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("bug", [ZeroDivisionError("x"), OSError("of a library, without a number")])
def test_a_bug_keeps_its_traceback(bug):
    _, stderr, exception = raising(bug)
    assert exception is bug and stderr == ""


def test_a_reader_that_leaves_is_no_error():
    # more than a pipe holds, so that the writer meets the closed end
    script = (
        "import sys\nfrom heapwright.cli.failures import sentences\n"
        "with sentences():\n    for row in range(100_000): print(row)\n    sys.stdout.flush()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as writer:
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.stderr.read() == ""
        assert writer.wait(60) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["synthesise"]])
def test_a_full_disk_behind_stdout_is_a_sentence(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HEAPWRIGHT, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "heapwright: the disk is full (No space left on device); "
        "free some space or write elsewhere.\n"
    )


def test_a_pipe_gets_no_colours():
    plain = run("synthesise")
    assert plain.returncode == 0 and "\x1b" not in plain.stdout


def test_managers_as_json_and_as_a_table():
    listed = json.loads(run("managers", "--json").stdout)["managers"]
    linear = next(row for row in listed if row["name"] == "linear")
    assert linear["knobs"] == {"growth_bytes": 1 << 20} and "bump" in linear["summary"]
    table = run("managers").stdout
    for row in listed:
        assert row["name"] in table and row["summary"].split()[0] in table


def test_a_manager_that_cannot_be_imported_is_listed_with_the_reason(monkeypatch):
    from heapwright.cli.managers import described
    from heapwright.managers import registry

    broken = {
        "linear": registry.named("linear"),
        "lost": registry.Manager("lost", "no_such_module"),
    }
    monkeypatch.setattr(registry, "managers", lambda: broken)
    sound, lost = described()
    assert (
        sound["knobs"] and lost["summary"] == "cannot be imported: No module named 'no_such_module'"
    )


def test_options_of_a_program_without_two_dashes_are_hinted_at():
    done = runner.invoke(cli.app, ["record", "ls", "-l"])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert (
        "No such option: -l. If it is the program's, put -- before the program: "
        "heapwright record -- ls -l"
    ) in said
    other = runner.invoke(cli.app, ["record", "--no-such", "--", "ls"])
    assert other.exit_code == 2 and "put --" not in other.output


@pytest.mark.parametrize("words", [["managers"], ["cache"], ["fly", "first-fit", "--", "true"]])
def test_a_command_that_compiles_nothing_imports_no_compiler(words):
    """`fly` starts what was built before; building it is another process's work."""
    check = (
        "import sys; from heapwright.cli import main\n"
        f"sys.argv[1:] = {words!r}\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numba', 'llvmlite'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
