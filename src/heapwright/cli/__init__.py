"""The command line: one file per command, imported only when that command runs.

    heapwright NAME ...  ─►  COMMANDS[NAME]  ─►  cli/NAME.py  ─►  def NAME(...)

How a command file looks (cli/import_.py holds `import_`: a Python keyword takes an underscore):

    '''What the file is, in a line.'''
    from heapwright.cli.options import Json, TracePath      # up here nothing heavier than typer

    def info(trace: TracePath, json: Json = False) -> None:
        '''Say what a trace holds.          # the first line, equal to COMMANDS["info"]

        A paragraph or two.

        Example:

            heapwright info sqlite.heap.parquet     # indented lines are kept as they are
        '''
        from heapwright.trace.store import Trace    # heavy imports inside

- A new command is one line in COMMANDS and one file; a test compares the two first lines.
- `--set glibc.arena_max=2` is `settings.parse_settings(list of them)`; sizes and counts for people
  are `settings.parse_bytes` ("64k") and `settings.parse_count` ("10M").
- `--json` prints through `screen.print_json`: one JSON document on stdout and nothing else there.
- `options.py` holds the arguments that commands share.
- An option whose value may be left out, `--stacks[=DEPTH]`, is in the file's WITHOUT_VALUE.
- Tables go to `screen.console()`, progress to `screen.progress(...)` (stderr, terminals only).
- A person's mistake is a HeapwrightError: a sentence on stderr, status 1. See `failures.py`.
"""

import importlib
import inspect
import keyword
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from heapwright.cli.failures import sentences

# Names in the order of --help, each with the first line of its docstring.
COMMANDS = {
    "demo": "Record a program, replay it through every manager, compare.",
    "advise": "Say what to change so that a program holds less memory.",
    "record": "Record what a program allocates.",
    "recover": "Write the trace of a recording that was interrupted.",
    "import": "Turn a recording of another tool into a trace.",
    "export": "Write a trace in a format of other tools.",
    "synthesise": "Write the trace of a made-up program.",
    "info": "Say what a trace holds: sizes, lifetimes, who allocates.",
    "why": "Say why a program's memory is what it is.",
    "diff": "Say what grew from one trace of a program to the next.",
    "managers": "List the memory managers and their knobs.",
    "compare": "Replay a trace through several managers, side by side.",
    "sweep": "Replay many traces through many managers at many settings.",
    "replay": "Replay a trace through one manager.",
    "worst-case": "Find the program that makes a manager's heap largest.",
    "frames": "Say who holds a kernel's frames, and how broken up they are.",
    "lower-bound": "Say in how little memory a trace could be served.",
    "areas": "Show a runtime's data areas, and how each of them ends.",
    "maps": "Show an address space, area by area, as pmap or smaps would.",
    "size-classes": "Find the size classes that fit a trace.",
    "build": "Compile a manager into a shared object that serves malloc.",
    "fly": "Run a program on a manager.",
    "cache": "Say what compiled code is kept, and clear it.",
    "validate": "Check a manager against the real system, event by event.",
}
READING = {"managers"}  # commands that import managers and run none


def command_function(name: str) -> Callable[..., Any]:
    """The function behind command `name`, imported now."""
    module = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
    function: Callable[..., Any] = getattr(
        importlib.import_module(f"heapwright.cli.{module}"), module
    )
    return function


def keeping_examples(docstring: str) -> str:
    """`docstring` with each indented paragraph marked so that help leaves its lines alone."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(f"\b\n{p}" if p.startswith("    ") else p for p in paragraphs)


def with_values(args: list[str], without: dict[str, str]) -> list[str]:
    """`args` with the value of each option in `without` that is given without any."""
    own = args.index("--") if "--" in args else len(args)
    given = [f"{word}={without[word]}" if word in without else word for word in args[:own]]
    return given + args[own:]


class Deferred(TyperCommand):
    """A command whose file is imported when it is about to parse its arguments."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """The context of the command that stands in `cli/`."""
        function = command_function(str(self.name))
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(self.name, help=keeping_examples(function.__doc__ or ""))(function)
        given = list(args)
        args = with_values(given, getattr(sys.modules[function.__module__], "WITHOUT_VALUE", {}))
        try:
            return typer.main.get_command(single).make_context(
                info_name, args, parent=parent, **extra
            )
        except Exception as error:  # click's, wherever this typer has it from
            runs = "-- CMD" in str(inspect.signature(function))
            if type(error).__name__ == "NoSuchOption" and runs and "--" not in given:
                error.message += (  # type: ignore[attr-defined]
                    f". If it is the program's, put -- before the program: "
                    f"heapwright {self.name} -- {' '.join(given)}"
                )
            raise


class Root(TyperGroup):
    """Knows every command by name and one line, and imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The deferred command, or None when nothing has this name."""
        if cmd_name not in COMMANDS:
            return None
        line = COMMANDS[cmd_name]
        return Deferred(cmd_name, help=line, short_help=line, rich_markup_mode=None)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what a person did wrong ends in a sentence."""
        with sentences():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from heapwright import __version__

        typer.echo(f"heapwright {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """A wind tunnel for memory managers.

    Record what a program allocates once, replay the recording through every manager, see where
    each resident byte goes.
    """


def main() -> None:
    """Entry point of the console script and of `python -m heapwright`."""
    if set(sys.argv[1:2]) & READING:
        # Its kernels are looked at and never run: plain functions, which import no compiler.
        os.environ.setdefault("HEAPWRIGHT_INTERPRET", "1")
    with sentences():  # of what happens outside a command, such as printing help to a full disk
        app(prog_name="heapwright")
