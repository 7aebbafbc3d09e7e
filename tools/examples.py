"""The examples of the documents: found, run, and held to what the page says they print.

```console                     $ lines are commands, run one after the other in a folder of the
$ heapwright info a.parquet    page's own; what follows is what they print: each word of it
events   ...                   must still be printed, figures and `...` may differ
```
```python title="app.py"       a file of that folder
```python                      run in it, as a program; the parts of a page continue each other
<!-- not run: REASON -->       before a block that cannot be run in a test

python tools/examples.py FILE.md ...     run them and write what they print into the page: of
                                         each command that shows something the first lines
"""

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_LINES = 24  # of what one command prints
SECONDS = 800  # that one command may take, on a busy machine with nothing compiled

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n *)?"
    r"(?P<indent>^ *)```(?P<language>console|python|c|cpp|go|toml|text)(?P<options>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')


class Block(NamedTuple):
    """A block of a document."""

    document: Path
    line: int
    language: str
    title: str  # the file's name, "" of what is no file
    body: str
    reason: str  # why it is not run; "" when it is
    indent: int


class Command(NamedTuple):
    """A command and what it is said to print."""

    text: str
    shown: str


def blocks(document: Path) -> Iterator[Block]:
    """Every block of a document, in order."""
    text = document.read_text()
    for match in _BLOCK.finditer(text):
        title = _TITLE.search(match["options"])
        indent = len(match["indent"])
        body = "".join(line[indent:] or "\n" for line in match["body"].splitlines(keepends=True))
        yield Block(
            document,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            title[1] if title else "",
            body,
            match["reason"] or "",
            indent,
        )


def commands(body: str) -> Iterator[Command]:
    """The commands of a console block; a line that ends in a backslash goes on."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
        assert match
        yield Command(match[1], match[2])


def environment(first: Path | None = None) -> dict[str, str]:
    """What an example runs in: the commands of this installation, or before them those of the
    folder `first`; no colours, 100 columns."""
    folders = [str(each) for each in (first, Path(sys.executable).parent) if each]
    path = ":".join([*folders, os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}


def run(command: str, folder: Path, first: Path | None = None) -> str:
    """What a command prints; AssertionError when it fails."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(first),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\nends with {done.returncode}:\n{done.stdout}"
    return done.stdout


def words(text: str) -> set[str]:
    """The words of an output that are neither figures nor drawings."""
    return set(re.findall(r"[^\W\d_]{3,}", text))


def missing(shown: str, printed: str) -> set[str]:
    """Words that a page shows and the command no longer prints; sentences follow the figures."""
    labels = [line for line in shown.splitlines() if not line.endswith((".", "..."))]
    return words("\n".join(labels)) - words(printed)


def execute(
    document: Path, folder: Path, first: Path | None = None
) -> Iterator[tuple[Block, Command, str]]:
    """Write the page's files and run its commands in `folder`: each with what it printed."""
    program = ""
    for block in blocks(document):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.body)
        elif block.reason:
            continue
        elif block.language == "console":
            for command in commands(block.body):
                yield block, command, run(command.text, folder, first)
        elif block.language == "python":
            program += block.body
            (folder / "_page.py").write_text(program)
            yield block, Command("python _page.py", ""), run("python _page.py", folder)


def renew(document: Path) -> None:
    """Run a page's commands and put what they print where the page shows something."""
    text = document.read_text()
    with tempfile.TemporaryDirectory() as folder:
        for block, command, printed in execute(document, Path(folder)):
            if not command.shown.strip():
                continue
            told = printed.replace(f"{folder}/", "").strip("\n")
            lines = [line.rstrip() for line in told.split("\n")]
            lines = lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "..."]
            old, new = (
                textwrap.indent(f"$ {command.text}\n{shown.rstrip()}\n", " " * block.indent)
                for shown in (command.shown, "\n".join(lines))
            )
            assert text.count(old) == 1, f"{document.name}:{block.line}: {command.text}"
            text = text.replace(old, new)
    document.write_text(text)


def main() -> None:
    """Renew the documents that the command line names, or all."""
    for name in map(Path, sys.argv[1:]):
        print(name, flush=True)
        renew(name.resolve())


if __name__ == "__main__":
    main()
