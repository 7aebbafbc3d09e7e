"""A wind tunnel for memory managers.

Record what a program allocates once, replay the recording through every manager, see where each
resident byte goes. In a program or a notebook:

    import heapwright as hw

    (trace,) = hw.record(["python3", "app.py"])
    found = hw.compare(trace)
    found.verdict.headline          what follows, in words
    found.to_pandas()               every figure
    found.write_html("page.html")   the page

Every name here is imported when it is first used. `docs/architecture.md` draws the house;
`heapwright --help` lists the commands.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from heapwright.api.advising import Advice, advise
    from heapwright.api.areas import Areas, areas
    from heapwright.api.classes import size_classes
    from heapwright.api.comparing import Comparison, compare
    from heapwright.api.differing import diff
    from heapwright.api.flying import build, fly
    from heapwright.api.kernel_frames import Frames, kernel_frames
    from heapwright.api.maps import Maps, maps
    from heapwright.api.recording import recording
    from heapwright.api.replaying import replay, validate
    from heapwright.api.sweeping import Sweep, sweep
    from heapwright.api.traces import attach, info, open, record
    from heapwright.api.why import why
    from heapwright.errors import HeapwrightError
    from heapwright.managers.registry import managers
    from heapwright.report.answers import Diff, Why
    from heapwright.result import Result
    from heapwright.trace.store import Trace

_HOMES = {
    "api.advising": ("Advice", "advise"),
    "api.classes": ("size_classes",),
    "api.comparing": ("Comparison", "compare"),
    "api.differing": ("diff",),
    "api.flying": ("build", "fly"),
    "api.areas": ("Areas", "areas"),
    "api.kernel_frames": ("Frames", "kernel_frames"),
    "api.maps": ("Maps", "maps"),
    "api.recording": ("recording",),
    "api.replaying": ("replay", "validate"),
    "api.why": ("why",),
    "api.sweeping": ("Sweep", "sweep"),
    "api.traces": ("attach", "info", "open", "record"),
    "errors": ("HeapwrightError",),
    "managers.registry": ("managers",),
    "report.answers": ("Diff", "Why"),
    "result": ("Result",),
    "trace.store": ("Trace",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 as a reader meets them
    "record",
    "recording",
    "attach",
    "open",
    "info",
    "advise",
    "compare",
    "why",
    "diff",
    "sweep",
    "replay",
    "validate",
    "size_classes",
    "maps",
    "areas",
    "kernel_frames",
    "build",
    "fly",
    "managers",
    "Trace",
    "Result",
    "Comparison",
    "Advice",
    "Why",
    "Diff",
    "Sweep",
    "Maps",
    "Areas",
    "Frames",
    "HeapwrightError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'heapwright' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"heapwright.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext heapwright`: the cell magic `%%heapwright`."""
    from heapwright.api.magic import HeapwrightMagics

    shell.register_magics(HeapwrightMagics)


def __dir__() -> list[str]:
    return sorted(__all__)
