"""`heapwright managers`: the registry, as a table or JSON."""

from typing import Any

from heapwright.cli.options import Json


def managers(json: Json = False) -> None:
    """List the memory managers and their knobs.

    Each manager has a name, which other commands take, and knobs with the real system's defaults.

    Example:

        heapwright managers
        heapwright compare t.heap.parquet --managers glibc --set glibc.arena_max=2
    """
    from heapwright.cli import screen

    rows = described()
    if json:
        screen.print_json({"managers": rows})
        return
    from heapwright.report.terminal import print_descriptions

    headings = ("manager", "what it is", "knobs and their defaults")
    told = [(row["name"], row["summary"], row["knobs"]) for row in rows]
    print_descriptions(screen.console(), headings, told)


def described() -> list[dict[str, Any]]:
    """Name, summary and knobs {name: default} of every registered manager.

    One whose module cannot be imported, as a broken plug-in, has the reason for its summary.
    """
    from heapwright.managers.registry import managers as registered

    rows = []
    for name, manager in registered().items():
        try:
            module = manager.module
        except ImportError as error:
            rows.append({"name": name, "summary": f"cannot be imported: {error}", "knobs": {}})
            continue
        knobs = {knob: int(value) for knob, value in module.Config()._asdict().items()}
        rows.append({"name": name, "summary": manager.card.summary, "knobs": knobs})
    return rows
