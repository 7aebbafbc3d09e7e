"""Which Numba compiles whole programs: kernels as parts of one loop, optimised once.

    HEAPWRIGHT_WHOLE_PROGRAM   1 always, 0 never; unset: with a Numba that was tried

`whole_program` reaches below Numba's public face, which may change with any release. So it is used
with the releases that the suite ran on, LEAST to NEWEST (pyproject.toml asks for the same), and
beyond them only when asked for. The other way is Numba's own: `njit`, each kernel optimised by
itself. It needs nothing private, compiles for several times as long, and keeps nothing on disk,
since Numba's own cache does not notice a callee that changed in another file.
"""

import os
import re
import sys

LEAST, NEWEST = (0, 61), (0, 68)
SWITCH = "HEAPWRIGHT_WHOLE_PROGRAM"


def whole_programs(version: str) -> bool:
    """Whether to compile whole programs with this version of Numba; says so on stderr if not."""
    asked = os.environ.get(SWITCH, "")
    if asked:
        return asked != "0"
    if LEAST <= tuple(int(part) for part in re.findall(r"\d+", version)[:2]) <= NEWEST:
        return True
    print(f"heapwright: {beyond(version)}", file=sys.stderr)
    return False


def beyond(version: str) -> str:
    """What a version that was not tried means for its user."""
    least, newest = (".".join(map(str, bound)) for bound in (LEAST, NEWEST))
    return (
        f"Numba {version} is not one of those tried, {least} to {newest}: kernels are compiled one "
        f"by one, slowly and anew in each process; {SWITCH}=1 tries the fast way nevertheless."
    )
