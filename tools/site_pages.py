"""What MkDocs is told beyond the pages in docs/: pages made from the program itself.

    reference/commands.md   every command's --help          reference/managers.md   every card
    reference/json.md       the documents, from small runs   tutorials/notebook.md   an executed one
    decisions/index.md, contributing.md, changelog.md       what stands elsewhere in the repository

Kernels are not compiled for this: everything runs interpreted, on traces of a few hundred events,
but for the notebook, which runs as a reader's would.
"""

import html
import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

os.environ.setdefault("HEAPWRIGHT_INTERPRET", "1")
os.environ["COLUMNS"] = "92"  # of the help texts

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # MkDocs runs this file by its path

import notebook_page  # noqa: E402

FAMILIES = {
    "textbook": "What every book on memory management describes; they explain, and mark the range "
    "of what is possible.",
    "malloc": "What serves `malloc` under real programs.",
    "runtime": "The whole memory managers of language runtimes.",
    "device": "What serves a device's memory, of a GPU for one, to a program.",
    "linux": "The kernel's own: frames, objects over them, its address space, boot memory.",
    "third party": "Found through entry points of other packages.",
}

JSON_HEAD = """# JSON documents

With `--json` a command prints one JSON document on stdout and nothing else there. Sizes are bytes,
times nanoseconds or seconds as their names say. What follows is printed by the commands, on a trace
of 300 events; of long lists the first two entries are shown.
"""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    made = {
        "reference/commands.md": commands_page(),
        "reference/managers.md": managers_page(),
        "reference/json.md": json_page(),
        "decisions/index.md": decisions_page(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "tutorials/notebook.md": notebook_page.page(ROOT / "docs/tutorials/notebook.ipynb"),
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links and names that hold in the repository, as they hold in the site."""
    if page.file.src_uri == "contributing.md":
        markdown = markdown.replace("](docs/", "](")
    depth = page.file.src_uri.count("/")
    for name in ("CONTRIBUTING", "CHANGELOG"):
        inside = "../" * depth + name.lower() + ".md"
        markdown = markdown.replace(f"]({'../' * (depth + 1)}{name}.md", f"]({inside}")
    return re.sub(r"^ *<!-- not run: .*? -->\n", "", markdown, flags=re.MULTILINE)


def commands_page() -> str:
    """Every command's help."""
    from typer.testing import CliRunner

    from heapwright.cli import COMMANDS, app

    parts = ["# Commands\n", "What `heapwright COMMAND --help` says, command by command.\n"]
    parts += [f"- [`{name}`](#{name}): {line}" for name, line in COMMANDS.items()]
    for name in COMMANDS:
        shown = CliRunner().invoke(app, [name, "--help"], prog_name="heapwright").output.strip()
        parts.append(f"\n## {name}\n\n```text\n{shown}\n```\n")
    return "\n".join(parts)


def decisions_page() -> str:
    """The decisions, by their titles."""
    rows = []
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        title = path.read_text().splitlines()[0].removeprefix("# ")
        rows.append(f"{int(path.name[:4])}. [{title}]({path.name})")
    head = "# Decisions\n\nChoices that had real alternatives, each with what was measured.\n\n"
    return head + "\n".join(rows) + "\n"


def managers_page() -> str:
    """Every manager: a table by family, then each with its header, knobs and deployment."""
    from heapwright.managers import managers

    found = list(managers().values())
    parts = ["# Managers\n", "Made from the managers' own cards and sources.\n"]
    families = dict.fromkeys(manager.family for manager in found)
    for family in families:
        parts.append(f"## Family: {family}\n\n{FAMILIES.get(family, '')}\n")
        parts.append("| manager | what it is | serves | compared unasked | flies | held to |")
        parts.append("|---|---|---|---|---|---|")
        for manager in found:
            if manager.family == family:
                parts.append(_row(manager))
        parts.append("")
    for manager in found:
        parts.append(_manager(manager))
    return "\n".join(parts)


def _row(manager: Any) -> str:
    card = manager.card
    compared = ", ".join(kind for kind in ("malloc", "graph") if card.compared_on(kind))
    flies = "yes" if card.flies and not card.collected else ""
    real = f"the real {manager.name}" if card.reference else ""
    name = f"[`{manager.name}`](#{manager.name})"
    serves = ", ".join(card.serves)
    return f"| {name} | {card.summary} | {serves} | {compared} | {flies} | {real} |"


def _manager(manager: Any) -> str:
    """One manager's section."""
    card = manager.card
    header = (manager.module.__doc__ or "").strip()
    parts = [f"## {manager.name}\n", f"```text\n{header}\n```\n"]
    facts = []
    if card.versions:
        facts.append(f"Versions: {', '.join(card.versions)}.")
    if card.ground:
        facts.append(f"Stands on: {', '.join(card.ground)}, or the machine.")
    if card.limit_knob:
        facts.append(f"`--heap` sets its knob `{card.limit_knob}`.")
    parts += [" ".join(facts) + "\n"] if facts else []
    from heapwright.managers.knobs import knobs

    told = knobs(manager)
    if told:
        deploy = card.deploy
        outside = dict(deploy.environment) if deploy else {}
        outside |= (
            {k: f"{deploy.variable}={v}" for k, v in deploy.tunables.items()} if deploy else {}
        )
        ends = " set outside by |" if outside else ""
        parts.append("| knob | default | unit | what it is |" + ends)
        parts.append("|---|---:|---|---|" + ("---|" if outside else ""))
        for knob, one in told.items():
            row = f"| `{knob}` | {one.default:,} | {one.unit} | {_cell(one.sentence)} |"
            if outside:
                row += f" {'`' + outside[knob] + '`' if knob in outside else ''} |"
            parts.append(row)
    if card.deploy and card.deploy.preload:
        parts.append(f"\nA program gets it by preloading `{card.deploy.preload}`.")
    if card.deploy and card.deploy.library:
        parts.append(
            f"\nA program gets it by preloading `{card.deploy.library}`, which Debian and "
            f"Ubuntu have in `{card.deploy.package}`."
        )
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")


def json_page() -> str:
    """The documents that commands print: a comparison's sections, and a small run of each."""
    parts = [JSON_HEAD, sections_text()]
    for title, words in json_commands():
        parts.append(f"## {title}\n\n`{words}`\n\n```json\n{shortened(printed(words))}\n```\n")
    return "\n".join(parts)


def sections_text() -> str:
    """Every section of a comparison's document: its keys, their types and meanings."""
    from heapwright import sections
    from heapwright.result import SCHEMA_VERSION

    parts = [
        "## Sections of a comparison\n",
        f"`schema_version` is {SCHEMA_VERSION}; it grows when a key changes its name or meaning. "
        f"Keys may be added. A key with a `?` is there where it has something to say.\n",
    ]
    for name, section in reversed(sections_of(sections).items()):
        parts.append(
            f"### {name}\n\n{inspect.cleandoc(section.__doc__)}\n\n| key | type | |\n|---|---|---|"
        )
        for key, kind in get_type_hints(section, include_extras=True).items():
            parts.append(_key_row(key, kind))
        parts.append("")
    return "\n".join(parts)


def sections_of(module: Any) -> dict[str, Any]:
    """The classes of a module that name the keys of a JSON object."""
    return {name: one for name, one in vars(module).items() if is_typeddict(one)}


def _key_row(key: str, kind: Any) -> str:
    optional, meaning = "", ""
    while get_origin(kind) in (Annotated, NotRequired):
        if get_origin(kind) is NotRequired:
            optional = "?"
        else:
            meaning = kind.__metadata__[0]
        kind = get_args(kind)[0]
    told = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    told = told.replace("heapwright.sections.", "").replace("typing.", "").replace(" | ", " or ")
    return f"| `{key}`{optional} | `{told}` | {_cell(meaning)} |"


def json_commands() -> list[tuple[str, str]]:
    """The commands whose documents are shown."""
    return [
        ("info", "heapwright info t.heap.parquet --json"),
        ("compare", "heapwright compare t.heap.parquet --managers first-fit --jobs 1 --json"),
        ("replay", "heapwright replay first-fit t.heap.parquet --json"),
        ("lower-bound", "heapwright lower-bound t.heap.parquet --json"),
        ("managers", "heapwright managers --json"),
        ("cache", "heapwright cache --json"),
    ]


def printed(words: str) -> Any:
    """What a command prints, on a trace of 300 events."""
    import shlex
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HEAPWRIGHT_CACHE": f"{folder}/cache"}
        made = "synthesise log-uniform --events 300 -o t.heap.parquet"
        for line in (made, words.removeprefix("heapwright ")):
            done = subprocess.run(
                [sys.executable, "-m", "heapwright", *shlex.split(line)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shortened(document: Any) -> str:
    """The document with the first two entries of each long list, and of many alike."""

    def cut(value: Any) -> Any:
        if isinstance(value, list):
            kept = [cut(one) for one in value[:2]]
            return [*kept, f"... {len(value) - 2} more"] if len(value) > 2 else kept
        if isinstance(value, dict):
            return {name: cut(one) for name, one in value.items()}
        return value

    return json.dumps(cut(document), indent=2)
