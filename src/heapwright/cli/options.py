"""Arguments that several commands share, so that they read alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

TracePath = Annotated[
    Path, typer.Argument(metavar="TRACE", help="A trace file.", show_default=False)
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="The trace file to write.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="MANAGER.KNOB=VALUE", help="Set a knob; may be repeated."),
]
Knobs = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KNOB=VALUE", help="Set a knob; may be repeated."),
]
Flown = Annotated[
    str, typer.Argument(metavar="MANAGER", help="See `heapwright managers`.", show_default=False)
]
Touch = Annotated[
    str | None,
    typer.Option(
        "--touch",
        metavar="recorded|all|none",
        help="What the program writes of its memory; default: as recorded, of a trace that tells "
        "it, else all.",
        show_default=False,
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        help="Say whether the program would be killed under this limit, as 512M.",
        show_default=False,
    ),
]
Swap = Annotated[
    str | None,
    typer.Option(
        "--swap",
        metavar="SIZE",
        help="With a limit: so much swap beside it, and what would go there and back.",
        show_default=False,
    ),
]
HugePages = Annotated[
    str,
    typer.Option(
        "--huge-pages", metavar="never|madvise|always", help="The machine's transparent huge pages."
    ),
]
