"""Collapsed stacks, a line each: `main;parse;grow 4096`; flamegraph.pl and many others read it."""

from heapwright.report.profiles.profile import Profile

SUMMARY = "collapsed stacks for flamegraph.pl and inferno, of one kind of value"
ENDING = ".collapsed"


def written(profile: Profile, kind: str | None = None) -> bytes:
    """A line for each stack with a value of this kind, in the order of the stacks."""
    column = profile.column(kind)
    sums: dict[str, int] = {}
    for row in profile.rows():
        if value := int(profile.values[row, column]):
            stack = ";".join(map(_frame, profile.functions(row)))
            sums[stack] = sums.get(stack, 0) + value
    return "".join(f"{stack} {value}\n" for stack, value in sums.items()).encode()


def _frame(name: str) -> str:
    """A frame without what separates frames and lines."""
    return " ".join(name.replace(";", ":").split())
