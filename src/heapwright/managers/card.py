"""What a manager says of itself: pure data, read without importing the manager or Numba.

    managers/textbook/first_fit/__init__.py     CARD = Card(...)     what everyone may ask
                               /manager.py      the manager          what a replay binds

The registry, the default line-up, the conformance suite, the commands' help and the documents'
tables derive from cards; nothing else keeps a list of managers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["malloc", "graph"]  # of trace, and of the requests that a manager answers


@dataclass(frozen=True)
class Deploy:
    """How a program outside gets this manager, or one of its settings; and which are worth trying.

    The real systems that have no twin say so in the same words: see `references`.
    """

    environment: Mapping[str, str] = field(default_factory=dict)  # knob: variable that sets it
    tunables: Mapping[str, str] = field(default_factory=dict)  # knob: its name within `variable`
    variable: str = "GLIBC_TUNABLES"  # that holds several knobs,
    equals: str = "="  # each a name, this, and its value,
    between: str = ":"  # with this in between
    flags: tuple[str, ...] = ()  # of those, knobs of 0 and 1 that are called by words there,
    words: tuple[str, str] = ("false", "true")  # these
    shares: tuple[str, ...] = ()  # knobs in % that are shares of 1 there
    calls: Mapping[str, str] = field(default_factory=dict)  # knob: a line of Python that sets it,
    # with {} for the value: what no environment can say
    preload: str = ""  # command that makes the library to preload; "": none is made
    library: str = ""  # name of the library to preload that `package` installs; "": none
    package: str = ""  # Debian's and Ubuntu's name
    tries: tuple[Mapping[str, int], ...] = ()  # settings that are tried by `heapwright advise`
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # knob: least, most of a
    # search; what grows by factors, as sizes and times do, is searched so
    threaded: tuple[str, ...] = ()  # knobs that matter to programs of several threads only
    # Settings under which nothing waits for the clock; empty of what never does
    at_once: Mapping[str, int] = field(default_factory=dict)

    def knobs(self) -> list[str]:
        """Every knob that can be set from outside."""
        return list(dict.fromkeys([*self.environment, *self.tunables]))

    def waits(self, settings: Mapping[str, int]) -> bool:
        """Whether it gives memory back as time passes, so that the program's pauses matter."""
        return any(settings.get(knob) != value for knob, value in self.at_once.items())

    def variables(self, settings: Mapping[str, int]) -> dict[str, str] | None:
        """The environment for `settings`; None where one of the knobs cannot be set from outside.

        >>> Deploy(environment={"arena_max": "MALLOC_ARENA_MAX"}).variables({"arena_max": 2})
        {'MALLOC_ARENA_MAX': '2'}
        """
        if any(knob not in self.knobs() for knob in settings):
            return None
        told = {
            self.environment[knob]: str(value)
            for knob, value in settings.items()
            if knob in self.environment
        }
        packed = [
            f"{self.tunables[knob]}{self.equals}{self._value(knob, value)}"
            for knob, value in settings.items()
            if knob not in self.environment
        ]
        return told | ({self.variable: self.between.join(packed)} if packed else {})

    def _value(self, knob: str, value: int) -> str:
        """How a value is written."""
        if knob in self.shares:
            return f"{value / 100:g}"
        return self.words[bool(value)] if knob in self.flags else str(value)

    def said(self, settings: Mapping[str, int]) -> str:
        """What to put before a command for `settings`, as MALLOC_ARENA_MAX=1; "" where one of the
        knobs cannot be set from outside."""
        told = self.variables(settings) or {}
        return " ".join(f"{name}={value}" for name, value in told.items())


@dataclass(frozen=True)
class Card:
    """The traits of one manager; its name is its folder's, its family the folder's above."""

    summary: str  # one line: what it is and whose
    serves: tuple[Kind, ...] = ("malloc",)  # the requests it answers: see managers/__init__.py
    compared: tuple[Kind, ...] | None = (
        None  # traces on which it is compared unasked; None: what it serves
    )
    ground: tuple[str, ...] = ()  # managers it may stand on instead of the machine; "*" any malloc
    stands_on: str = ""  # its ground where none is named: a manager, or "" the machine
    versions: tuple[str, ...] = ()  # of the real system, values of the knob `version`, newest last
    unproven: tuple[str, ...] = ()  # of these, from public history alone: no real one was driven
    reference: str = ""  # module that finds, measures and agrees with the real one
    recorded: bool = False  # the settings that a recording's environment has are its knobs
    version_of: str = ""  # the fact of a trace that says which version its program ran on
    limit_knob: str = ""  # the knob that limits the heap, for `--heap`
    deploy: Deploy | None = None  # None: a textbook manager, which explains and is not deployed
    units: Mapping[str, str] = field(default_factory=dict)  # of knobs whose names do not say it
    doors: bool = False  # told by which door a kernel's request came; compared on kernels' traces
    flies: bool = True  # serves malloc of real programs; of one that serves malloc
    # What the conformance suite must know:
    variants: tuple[Mapping[str, int], ...] = ()  # settings that change its course
    incremental: int = 0  # so many of them, the last: a small program writes while it marks
    shares_below: int = 0  # bytes; smaller objects share blocks and keep each other
    names_slots: bool = True  # an object's header says in which slot it was born

    @property
    def collected(self) -> bool:
        """Whether it has a collector and is told of no death."""
        return "malloc" not in self.serves

    def compared_on(self, kind: Kind) -> bool:
        """Whether it is compared on traces of this kind unless others are named."""
        return kind in (self.serves if self.compared is None else self.compared)
