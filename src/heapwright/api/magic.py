"""The cell magic `%%heapwright`: a cell's allocations, compared, below the cell.

%load_ext heapwright
%%heapwright [--managers A,B] [--output X.heap.parquet] [--no-page]
"""

from __future__ import annotations

import argparse
import tempfile
import weakref
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import HTML, display

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.api.comparing import Comparison

PAGE_PX = 720  # height of the page below a cell
TITLE_LETTERS = 72


@magics_class
class HeapwrightMagics(Magics):
    """Registered by `%load_ext heapwright`."""

    @magic_arguments()
    @argument(
        "--managers",
        help="names, as `heapwright compare` takes them; else what the kernel runs on and every "
        "malloc that it could run on, with and without Python's own allocator",
    )
    @argument("--output", help="keep the trace in this file")
    @argument("--no-page", action="store_true", help="the table alone")
    @cell_magic
    def heapwright(self, line: str, cell: str) -> None:
        """Run the cell, record what it allocates, show what each manager would hold of it.

        Example: %%heapwright --managers "pymalloc over glibc,glibc"
        """
        from heapwright.api.comparing import compare
        from heapwright.api.recording import recording

        shell = self.shell
        if shell is None:
            raise UsageError("there is no notebook to run the cell in")
        asked = _parsed(self.heapwright, line)
        folder = tempfile.TemporaryDirectory(prefix="heapwright-cell-")
        weakref.finalize(self, folder.cleanup)
        path = Path(asked.output or Path(folder.name, "cell.heap.parquet"))
        try:
            with recording(path) as here:
                done = shell.run_cell(cell)
            if error := done.error_in_exec or done.error_before_exec:  # its traceback is shown
                # The cell must have failed for "run all" too, which goes by what the magic does
                raise UsageError(f"the cell raised {type(error).__name__}: nothing is compared")
            found = compare(here.trace, asked.managers, references=False)
            shown = cell_html(found, Path(folder.name), title_of(cell), page=not asked.no_page)
            display(HTML(shown))
        except HeapwrightError as error:
            raise UsageError(str(error)) from None


def _parsed(magic: Any, line: str) -> argparse.Namespace:
    parsed: argparse.Namespace = parse_argstring(magic, line)
    if parsed.managers:
        parsed.managers = parsed.managers.strip("\"'")
    return parsed


def title_of(cell: str) -> str:
    """The first line of a cell, which tells more than the command that started the kernel."""
    first = next((line.strip() for line in cell.splitlines() if line.strip()), "")
    return first if len(first) <= TITLE_LETTERS else f"{first[: TITLE_LETTERS - 1]}…"


def cell_html(found: Comparison, folder: Path, title: str, *, page: bool) -> str:
    """The table, and the page in a frame of its own that runs none but its own scripts."""
    from heapwright.api.notebook import comparison_html

    shown = comparison_html(found)
    if page:
        text = found.write_html(folder / "cell.html", title).read_text()
        shown += (
            f'<iframe sandbox="allow-scripts" srcdoc="{escape(text)}" title="heapwright" '
            f'style="box-sizing:border-box;width:100%;height:{PAGE_PX}px;border:1px solid #8888">'
            "</iframe>"
        )
    return shown
