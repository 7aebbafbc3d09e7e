"""The options of `java` that a recording or a log keeps, as numbers under their names.

-Xmx64m -XX:MaxTenuringThreshold=4 -XX:-UseTLAB  ─►  Xmx 67108864, MaxTenuringThreshold 4, UseTLAB 0
"""

import re

SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
LONG_NAMES = {"MaxHeapSize": "Xmx", "InitialHeapSize": "Xms", "ThreadStackSize": "Xss"}


def numbers(options: str) -> dict[str, int]:
    """Sizes in bytes, switches as 1 and 0; of an option that is given twice the last counts."""
    found: dict[str, int] = {}
    for each in options.split():
        if size := re.fullmatch(r"-(Xm[nxs])(\d{1,12})([kmgKMG]?)", each):
            found[size[1]] = int(size[2]) << SHIFTS[size[3].upper()]
        elif switch := re.fullmatch(r"-XX:([-+])(\w{1,60})", each):
            found[switch[2]] = int(switch[1] == "+")
        elif knob := re.fullmatch(r"-XX:(\w{1,60})=(\d{1,12})([kmgKMG]?)", each):
            name = LONG_NAMES.get(knob[1], knob[1])
            found[name] = int(knob[2]) << SHIFTS[knob[3].upper()]
    if "MaxNewSize" in found and found.get("NewSize") == found["MaxNewSize"]:
        found["Xmn"] = found["MaxNewSize"]  # as a log of JDK 8 has -Xmn
    return found


def knobs(options: str, known: tuple[str, ...]) -> dict[str, int]:
    """Those that a twin has, whose heap has its largest size from the start."""
    return {
        name: value for name, value in numbers(options).items() if name in known and name != "Xms"
    }
