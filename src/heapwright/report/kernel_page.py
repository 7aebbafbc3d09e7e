"""Who holds a kernel's frames, as one self-contained page.

kernel_page.html   the frame, with {{places}} filled below; the look is that of every page
"""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from heapwright.insight.kernel_frames import KernelFrames
from heapwright.report.atomic import atomic
from heapwright.report.figures import notes_list
from heapwright.report.kernel_frames import caches_sheet, orders_sheet, owners_sheet
from heapwright.report.markup import table
from heapwright.report.notes import Note


def write_kernel_page(path: Path, name: str, found: KernelFrames, notes: Sequence[Note]) -> None:
    """Write the page of a trace of this name; HeapwrightError when that cannot be done."""
    text = kernel_page(name, found, notes)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def kernel_page(name: str, found: KernelFrames, notes: Sequence[Note]) -> str:
    """The page's text."""
    used = found.peak["used_frames"] + found.peak["cpu_list_frames"]
    places = {
        "style": _own("page.css"),
        "script": _own("tables.js"),
        "name": escape(name),
        "lead": escape(
            f"{found.events:,} events through {found.manager}; at most {used:,} of "
            f"{found.peak['frames']:,} frames taken"
        ),
        "owners": table(owners_sheet(found)),
        "orders": table(orders_sheet(found)),
        "caches": table(caches_sheet(found)) or "<p>Whole frames alone: no caches.</p>",
        "notes": "\n".join(notes_list(notes)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: places[match[1]], _own("kernel_page.html"))


def _own(name: str) -> str:
    return files("heapwright.report").joinpath(name).read_text(encoding="utf-8")
