"""What a Java program was recorded with is what its twins replay with, unless it is set."""

import pytest

from heapwright.api.selection import selected
from heapwright.managers.present import ran_on
from heapwright.managers.registry import named
from heapwright.trace.java_options import knobs, numbers
from heapwright.trace.store import Trace
from heapwright.tunnel.steered import as_recorded, of_version, recorded_for, sentences
from heapwright.versions import version_number
from java_programs import KEY

M = 1 << 20


class Recorded:
    """A graph trace of a JVM, as far as its settings are asked for."""

    def __init__(self, java: str, options: str = "", collector: str = "", most: int = 0) -> None:
        self.java, self.python, self.graph = java, "", True
        self.of_kernel = self.on_device = False
        self.origin = {"java": java, "options": options}
        self.log = None
        if collector or most:
            self.log = type("Log", (), {"collector": collector, "most_bytes": most})()

    def collections(self):
        return self.log


def test_options_as_a_twin_has_them():
    told = "-Xmx64m -XX:MaxHeapSize=48M -Xms1G -XX:-UseTLAB -XX:TLABSize=16k -Xss1m -XX:Flags=x"
    assert numbers(told) == {"Xmx": 48 * M, "Xms": 1 << 30, "UseTLAB": 0, "TLABSize": 16384}
    assert knobs(told, ("Xms", "Xmx")) == {"Xmx": 48 * M}


def test_a_jvms_own_heap_is_its_twins():
    trace = Trace.open(KEY)
    assert ran_on(trace) == "hotspot-serial"
    for name in selected(trace, None):
        assert as_recorded(named(name), trace)["Xmx"] == 4 * M
    assert selected(trace, None)[0] == "hotspot-serial" and "glibc" not in selected(trace, None)
    none = Recorded("17.0.1", "", "g1", 512 * M)  # the JVM chose
    assert as_recorded(named("hotspot-serial"), none)["Xmx"] == 512 * M
    assert ran_on(none) == "hotspot-g1" == ran_on(Recorded("21.0.1", "", "z"))


@pytest.mark.parametrize(
    ("java", "name", "kept", "said"),
    [
        ("17.0.15", "hotspot-serial", "17.0", ""),
        ("17.0.15", "hotspot-cms", "", "ran on Java 17.0.15; hotspot-cms is the twin of 11.0 here"),
        ("19.0.2", "hotspot-g1", "", "ran on Java 19.0.2; hotspot-g1 is the twin of 21.0 here."),
    ],
)
def test_a_release_that_a_twin_has_not_is_not_called_recorded(java, name, kept, said):
    trace, manager = Recorded(java, "-Xmx16m"), named(name)
    chosen, found = recorded_for(manager, trace)
    assert found.get("version", 0) == (version_number(kept) if kept else 0)
    told = of_version(manager, trace, chosen)
    assert (said in told[0]) if said else not told
    assert "Xmx=16M" in sentences(found, 0)[0]
