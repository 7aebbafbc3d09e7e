"""The tutorials of CONTRIBUTING.md: their blocks, written out as a package that is installed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"\A(?:#) (\S+\.(?:py|toml))\n")


def section(heading):
    """The text below a heading of the second level."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def files(heading):
    """The text of each file: its blocks, one after another."""
    found = {}
    for _, block in FENCED.findall(section(heading)):
        if name := FILE.match(block):
            found[name[1]] = found.get(name[1], "") + block[name.end() :] + "\n\n"
    return found


def commands(heading):
    """The lines of the section that call heapwright."""
    blocks = [block for kind, block in FENCED.findall(section(heading)) if not kind]
    return [line for block in blocks for line in block.splitlines() if line.startswith("heapw")]


def installed(heading, root):
    """The package, as an installer leaves it: modules, metadata and entry points side by side."""
    for name, text in files(heading).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip() + "\n")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    about = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return root


def run(package, *command, **settings):
    """Status and output of a Python module run beside the package."""
    paths = os.pathsep.join([str(package), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=package,
        env={**os.environ, "PYTHONPATH": paths, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
