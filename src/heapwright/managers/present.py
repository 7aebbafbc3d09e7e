"""The twin of what a recorded program ran on, which tells whatever is told of a trace unless a
manager is named.

    malloc trace    the system's malloc; a Python's own allocator over it
    kernel, device  slub, the device's allocator
    object graph    CPython's collector; of a Java program the collector that its JVM said it has
"""

from typing import TYPE_CHECKING

from heapwright.managers.registry import managers, runs_on

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

PYTHONS = "cpython"
OF_JAVA = "java"  # `version_of` in the cards of its collectors
_OTHERWISE = "hotspot-g1"  # a JVM's own choice on a machine of two cores and 2 GiB


def ran_on(trace: "Trace") -> str:
    """The manager's name."""
    if trace.graph and trace.origin.get("python"):
        return PYTHONS
    if trace.graph and trace.java:
        collector = collector_of(trace)
        return collector if collector in managers() else _OTHERWISE
    return runs_on(python=bool(trace.python), kernel=trace.of_kernel, device=trace.on_device)


def collector_of(trace: "Trace") -> str:
    """hotspot-serial and so on, twin or none; "" where the JVM logged nothing."""
    log = trace.collections()
    return f"hotspot-{log.collector}" if log and log.collector else ""


def of_java(trace: "Trace") -> list[str]:
    """The twins of a JVM's collectors, the recorded one first: of its release, if there are any."""
    twins = {
        name: one.card.versions
        for name, one in managers().items()
        if one.family == "runtime" and one.card.version_of == OF_JAVA
    }
    release = ".".join(trace.java.split(".")[:2])
    found = [name for name, versions in twins.items() if release in versions] or list(twins)
    return sorted(found, key=lambda name: name != collector_of(trace))
