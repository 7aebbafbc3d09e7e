"""`heapwright managers`: the registry, as a table or JSON."""

from typing import Annotated, Any

import typer

from heapwright.cli.options import Json


def managers(
    manager: Annotated[
        str | None, typer.Argument(metavar="[MANAGER]", help="Of this one each knob's meaning.")
    ] = None,
    json: Json = False,
) -> None:
    """List the memory managers and their knobs.

    Each manager has a name, which other commands take, and knobs with the real system's defaults;
    of one that is named, and in JSON of all, each knob has its unit and a sentence.

    Example:

        heapwright managers
        heapwright managers glibc
        heapwright compare t.heap.parquet --managers glibc --set glibc.arena_max=2
    """
    from heapwright.cli import screen

    rows = described(manager)
    if json:
        screen.print_json({"managers": rows})
        return
    from heapwright.report.terminal import print_descriptions

    headings = ("manager", "what it is", "knobs and their defaults")
    told = [(row["name"], row["summary"], row["knobs"]) for row in rows]
    print_descriptions(screen.console(), headings, told)
    if manager is not None:
        screen.console().print()
        for row in rows:
            for knob, facts in row["knob_facts"].items():
                line = f"{knob} ({facts['unit']}): {facts['sentence']}"
                screen.console().print(line, markup=False, soft_wrap=True)


def described(only: str | None = None) -> list[dict[str, Any]]:
    """Name, summary, knobs {name: default} and their meanings of every registered manager.

    One whose module cannot be imported, as a broken plug-in, has the reason for its summary.
    """
    from heapwright.managers.knobs import knobs as meanings
    from heapwright.managers.registry import managers as registered
    from heapwright.managers.registry import named

    rows: list[dict[str, Any]] = []
    for name, manager in registered().items() if only is None else [(only, named(only))]:
        try:
            module = manager.module
        except ImportError as error:
            rows.append(
                {
                    "name": name,
                    "summary": f"cannot be imported: {error}",
                    "knobs": {},
                    "knob_facts": {},
                }
            )
            continue
        knobs = {knob: int(value) for knob, value in module.Config()._asdict().items()}
        facts = {knob: told._asdict() for knob, told in meanings(manager).items()}
        summary = manager.card.summary
        rows.append({"name": name, "summary": summary, "knobs": knobs, "knob_facts": facts})
    return rows
