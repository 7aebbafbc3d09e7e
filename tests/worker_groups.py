"""Which tests go to one worker: those of a manager, which it compiles once, else those of a file.
The documents' pages go to two: one after the other they would be the longest file by far.

    pytest -n 2 --dist loadgroup ─► scheduler(...) ─► group_of(test) ─► a worker for each group

xdist knows groups by marks, which it writes into the ids of tests in a way that pytest 9 took from
it: then every test was a group of its own and both workers compiled everything. So the group is
told from the id here, and `test_worker_groups.py` sees to it that it holds.
"""

import re
import zlib
from collections.abc import Collection
from functools import cache

SLOW = ("test_docs.py", "test_install.py")  # over a minute each, in processes of their own
HALVED = "test_docs.py"  # by the names of its pages


def group_of(test: str, known: Collection[str]) -> str:
    """The manager among `known` that the test's file or parameters name, or else its file.

    Of several names the longest: `region-gc` is not of `region`. A pair "A over B" is compiled anew
    and belongs to its file.
    """
    file, _, case = test.partition("::")
    stem = file.rpartition("/")[2].removesuffix(".py").removeprefix("test_").replace("_", "-")
    own = [name for name in known if stem == name or stem.startswith(f"{name}-")]
    told = case.partition("[")[2]
    if " over " in told:
        return file
    if told and file.endswith(HALVED):
        return f"{file} {zlib.crc32(told[:-1].encode()) % 2}"
    named = [name for name in known if _names(name).search(told)] if told else []
    return max(named or own, key=len, default=file)


@cache
def _names(manager: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|-){re.escape(manager)}(?=[-\]])")


def scheduler(config, log, known):
    """xdist's scheduler over these groups; None where it was not asked for groups."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByManager(LoadScopeScheduling):
        """In the order of the tests: see `slow_first`."""

        def _split_scope(self, nodeid):
            return group_of(nodeid, known)

    config.option.loadscopereorder = False  # by the number of tests, which tells nothing of time
    return ByManager(config, log)


def slow_first(tests):
    """Whoever begins the slow files last runs them alone, while the other worker waits."""
    tests.sort(key=lambda test: test.path.name not in SLOW)
