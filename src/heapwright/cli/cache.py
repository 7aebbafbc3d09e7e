"""`heapwright cache`: what is kept between runs, and how to be rid of it."""

from typing import Annotated

import typer

from heapwright.cli.options import Json


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all of it; it is made again when needed.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what compiled code is kept, and clear it.

    Compiled managers, recorders and drivers of real systems are kept between runs, each by a digest
    of the sources that it depends on. What nobody used for a month goes by itself.
    HEAPWRIGHT_CACHE names another folder.

    Example:

        heapwright cache
        heapwright cache --clear
    """
    from heapwright import cache as kept
    from heapwright.cli import screen
    from heapwright.words import bytes_text

    home = kept.cache_home()
    rows = kept.contents(home)
    freed = kept.clear(home) if clear else 0
    if json:
        document = {"folder": home, "contents": [row._asdict() for row in rows]}
        screen.print_json(document | ({"freed_bytes": freed} if clear else {}))
        return
    from heapwright.report.rows import BYTES, EXACT, TEXT, Column, Row, Sheet
    from heapwright.report.terminal import print_sheet

    columns = (
        Column("entries", "entries", EXACT),
        Column("bytes", "size", BYTES),
        Column("used", "last used", TEXT),
    )
    kinds = [Row(row._asdict(), row.what) for row in rows]
    print_sheet(screen.console(), Sheet("what", columns, kinds, str(home)))
    if clear:
        typer.echo(f"Cleared: {bytes_text(freed)}.")
