"""A notebook as a page: executed, each cell with what it shows.

Executed anew for every build, in a folder of its own, so a page shows what the program says now.
"""

import html
import os
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 600  # that one cell may take where nothing is compiled yet


def executed(path: Path) -> Any:
    """The notebook at `path` after running all its cells; an error in one is raised."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        interpreted = os.environ.pop("HEAPWRIGHT_INTERPRET", None)  # as a reader's would run
        try:
            client = NotebookClient(
                notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}
            )
            client.execute()
        finally:
            if interpreted is not None:
                os.environ["HEAPWRIGHT_INTERPRET"] = interpreted
    return notebook


def page(path: Path) -> str:
    """The page of the notebook at `path`."""
    parts = []
    for cell in executed(path).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_shown(output) for output in cell.outputs]
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    """One output: its richest form."""
    if output.output_type == "stream":
        return _text(output.text)
    data = output.get("data", {})
    if "text/html" in data:
        lines = (line.strip() for line in data["text/html"].splitlines())
        return f'<div class="notebook-output">{"".join(lines)}</div>'
    if "image/png" in data:
        return f'<img alt="what the cell draws" src="data:image/png;base64,{data["image/png"]}">'
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    return f'<pre class="notebook-output">{html.escape(text.rstrip())}</pre>'
