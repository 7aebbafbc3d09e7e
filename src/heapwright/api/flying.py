"""Flight: a manager compiled to a shared object, and real programs that run on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwright.flight.statistics import ProcessStatistics


def build(
    manager: str,
    output: str | os.PathLike[str] | None = None,
    settings: Mapping[str, int] | None = None,
) -> Path:
    """Compile a manager into a shared object that serves malloc; its path.

    Without `output` it is the copy that is kept for flights. HeapwrightError for an unknown manager
    or knob, and where nothing can be built: it needs a linker, and Linux on x86-64.
    """
    import shutil

    from heapwright.flight.build import build as built
    from heapwright.report.atomic import atomic

    kept = built(manager, settings)
    if output is None:
        return kept
    with atomic(Path(output)) as temporary:
        shutil.copyfile(kept, temporary)
        temporary.chmod(0o755)
    return Path(output)


@dataclass
class Flown:
    """What became of a program that ran on a manager."""

    status: int  # of its exit, 128 + n after signal n
    process: int
    processes: list[ProcessStatistics] = field(default_factory=list)  # with statistics


def fly(
    manager: str,
    command: Sequence[str],
    settings: Mapping[str, int] | None = None,
    *,
    statistics: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Flown:
    """Run a program whose every malloc the manager serves; with `statistics` what was held.

    HeapwrightError for an unknown manager or knob, and when the program cannot be run.
    """
    import tempfile

    from heapwright.flight.build import build as built
    from heapwright.flight.session import fly as run
    from heapwright.managers.registry import named

    library = built(manager, settings, statistics=statistics)
    surroundings = dict(os.environ if environment is None else environment)
    if not statistics:
        return Flown(*run(library, list(command), surroundings))
    from heapwright.flight.bind import bound  # these import the compiler
    from heapwright.flight.statistics import read_records

    account = bound(named(manager), "account")
    with tempfile.TemporaryDirectory(prefix="heapwright-") as folder:
        told = {**surroundings, account.VARIABLE: folder}
        return Flown(*run(library, list(command), told), read_records(Path(folder), account))
