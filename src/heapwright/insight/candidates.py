"""What a program can be given: derived from the cards of managers and from the real systems.

    card.deploy, reference.deployed ─► settings worth trying ─► Candidate, each with its lines

A manager with a twin is replayed, a real system without one serves the trace; one that is not
installed is told with what to install, and is no candidate. Of a graph trace the runtimes that have
a collector are asked, of any other trace the mallocs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.insight.advice import Candidate, applicable, trim_period
from heapwright.managers.card import Deploy
from heapwright.managers.deploying import (
    PRELOAD,
    WITHOUT_PYTHONS,
    Deployment,
    deployment,
    trimming,
)
from heapwright.managers.grounds import OVER
from heapwright.managers.registry import managers, named, runs_on, system_malloc
from heapwright.references import references

if TYPE_CHECKING:
    from heapwright.trace.store import Trace


class Field:
    """Who can be asked: twins with their cards, real systems that have none, what is missing."""

    def __init__(self, trace: "Trace", only: Sequence[str] | None) -> None:
        """`only`: these alone; HeapwrightError for one that is not known or is not deployed."""
        self.trace = trace
        # Of a Python's trace: its own allocator, which stands on each malloc
        self.above = runs_on(python=True).partition(OVER)[0] if trace.python else ""
        kind = "graph" if trace.graph else "malloc"
        self.twins: dict[str, Deploy] = {
            name: deploy
            for name, one in managers().items()
            if (deploy := one.card.deploy)
            and kind in one.card.serves
            and one.family != "device"  # which serves no program's own memory
            and (not trace.graph or (one.collected and bool(deploy.calls) == of_python(trace)))
        }
        self.real: dict[str, Deploy] = {}  # without a twin
        self.systems: dict[str, Any] = {}  # every real system that is here: its reference
        self.missing: list[str] = []
        for reference in references() if not trace.graph else ():
            if not hasattr(reference, "deployed"):
                continue
            for name in reference.names():
                if name in managers() and not managers()[name].card.deploy:
                    continue  # a program cannot be given it
                if missing := reference.missing(name):
                    self.missing.append(f"{name}: not tried, {missing}")
                    continue
                self.systems[name] = reference
                if name not in self.twins:
                    self.real[name] = reference.deployed(name)
        if only is not None:
            self._narrow(only)
        else:  # what few systems have is tried where it is here, or named
            rare = [n for n in self.twins if managers()[n].card.compared == ()]
            self.twins = {
                name: deploy
                for name, deploy in self.twins.items()
                if name not in rare or name in self.systems or managers()[name].family != "malloc"
            }

    def _narrow(self, only: Sequence[str]) -> None:
        known = [*self.twins, *self.real]
        for name in only:
            if name not in known:
                gone = [said for said in self.missing if said.startswith(f"{name}:")]
                if gone:
                    raise HeapwrightError(gone[0].rstrip("."))
                if name in managers():
                    raise HeapwrightError(
                        f"{name} explains and is not deployed on such a program; what can be: "
                        f"{', '.join(known)}."
                    )
                named(name)
        self.twins = {name: deploy for name, deploy in self.twins.items() if name in only}
        self.real = {name: deploy for name, deploy in self.real.items() if name in only}
        self.missing = []

    def deploy(self, name: str) -> Deploy:
        """How a program gets it."""
        return self.twins.get(name) or self.real.get(name) or Deploy()

    def candidate(
        self, name: str, settings: Mapping[str, int], *, alone: bool = False
    ) -> Candidate | None:
        """It with these settings; None where they cannot be set from outside.

        Of a Python's trace it lies beneath Python's own allocator, unless it is to stand `alone`,
        as a real one does that serves the trace.
        """
        kept = self.trace.settings if name == system_malloc() else {}
        made = deployment(self.deploy(name), settings, kept)
        if made is None:
            return None
        twin = name in self.twins and not self._waits(name, settings)
        if self.above and (alone or not twin):
            made = replace(made, environment={**made.environment, **WITHOUT_PYTHONS})
        elif self.above and twin:
            name = f"{self.above}{OVER}{name}"
        return Candidate(name, dict(settings), made, "twin" if twin else "measured")

    def _waits(self, name: str, settings: Mapping[str, int]) -> bool:
        """Whether it gives memory back as time passes, which no twin knows and the real one does,
        that is here and serves the trace as the program would."""
        return name in self.systems and not self.above and self.deploy(name).waits(settings)

    def all(self, now: Candidate, seconds: float) -> list[Candidate]:
        """Every candidate but the present one; `seconds`: what the recorded program took."""
        found: list[Candidate] = []
        for name in [*self.twins, *self.real]:
            deploy = self.deploy(name)
            if name == system_malloc() and now.malloc != name:  # the preload is taken away
                found.append(Candidate(name, {}, Deployment({PRELOAD: ""})))
            if self.above and name in self.twins:
                plain = self.candidate(name, {}, alone=True)
                found += [plain] if plain else []
            for settings in [{}, *deploy.tries]:
                own = deploy.preload or deploy.library or name == now.malloc
                if not own or not applicable(settings, deploy.threaded, self.trace.threads):
                    continue
                one = self.candidate(name, settings)
                if one and (one.manager, one.settings) != (now.manager, now.settings):
                    found.append(one)
            if "freeze_at" in deploy.calls and (one := self.candidate(name, self._freezing())):
                found.append(one)
        return found + self._trimmed(now, seconds)

    def _freezing(self) -> dict[str, int]:
        """When gc.freeze() is worth a try: at half of its births the program has started."""
        return {"freeze_at": max(1, self.trace.allocations // 2)}

    def _trimmed(self, now: Candidate, seconds: float) -> list[Candidate]:
        """A call of malloc_trim now and then, where the present manager knows it."""
        every = trim_period(seconds)
        if not every or now.kind != "twin" or now.malloc not in self.twins:
            return []
        if not hasattr(named(now.malloc).module, "trim"):
            return []
        return [Candidate(now.manager, now.settings, trimming(every), "twin", every)]


def present_of(trace: "Trace") -> tuple[str, str]:
    """The manager that the recorded program ran on, and the library that it preloaded for it, if
    any: what is named in LD_PRELOAD, or else the system's malloc; of a graph trace Go's heap, or
    Python's collector."""
    if trace.graph:
        for name, one in managers().items():
            deploy = one.card.deploy
            if one.collected and deploy and bool(deploy.calls) == of_python(trace):
                return name, ""
        raise HeapwrightError("no collector that can be deployed is known here.")
    named_there = ":".join(trace.origin.get(key, "") for key in ("preload", "aside"))
    for reference in references():
        if not hasattr(reference, "deployed"):
            continue
        for name in reference.names():
            library = reference.deployed(name).library
            stem = library.partition(".so")[0]
            if stem and stem in named_there:
                return name, library
    return system_malloc(), ""


def of_python(trace: "Trace") -> bool:
    """Whether it is the object graph of a Python."""
    return bool(trace.graph and trace.origin.get("python"))


def recorded_environment(trace: "Trace") -> dict[str, str]:
    """The variables by which the recorded program's environment set its malloc."""
    deploy = managers()[system_malloc()].card.deploy if system_malloc() else None
    known = {k: v for k, v in trace.settings.items() if deploy and k in deploy.knobs()}
    return (deploy.variables(known) or {}) if deploy else {}
