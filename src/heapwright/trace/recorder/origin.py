"""What a recording tells of where it was made: origin.h's text becomes facts and notes of a trace.

    @libc 2.36, @kernel ..., @command ... ─► origin      @env MALLOC_..., GLIBC_TUNABLES ─► settings

Source     which variable sets what, and how numbers are read: glibc 2.36 elf/dl-tunables.list,
           elf/dl-tunables.c and elf/dl-misc.c
"""

import datetime
import re
import shlex
from pathlib import Path
from typing import NamedTuple

# The variables of glibc's malloc and the tunable that each is another name of.
ALIASES = {
    "MALLOC_ARENA_MAX": "arena_max",
    "MALLOC_ARENA_TEST": "arena_test",
    "MALLOC_CHECK_": "check",
    "MALLOC_MMAP_MAX_": "mmap_max",
    "MALLOC_MMAP_THRESHOLD_": "mmap_threshold",
    "MALLOC_PERTURB_": "perturb",
    "MALLOC_TOP_PAD_": "top_pad",
    "MALLOC_TRIM_THRESHOLD_": "trim_threshold",
}
TUNABLES = (*ALIASES.values(), "tcache_count", "tcache_max", "tcache_unsorted_limit", "mxfast")
TUNABLES += ("hugetlb",)
_OURS = re.compile(r"recorder(-[0-9a-f]{16})?\.so")  # as built at first use, or shipped
_LINE = re.compile(r"@([a-z_]{1,20}) (.*)")
_NUMBER = re.compile(r"[ \t]*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")
TEXT_CHARACTERS = 4096


class Origin(NamedTuple):
    """What a `.proc` file tells."""

    facts: dict[str, str]  # Facts.origin
    settings: dict[str, int]  # Facts.settings
    notes: list[str]  # what the environment says that no setting holds


def origin(process: str) -> Origin:
    """The origin in the copies of /proc that a recording left."""
    facts: dict[str, str] = {}
    variables: dict[str, str] = {}
    for line in process.splitlines():
        match = _LINE.fullmatch(line[:TEXT_CHARACTERS])
        if not match:
            continue
        name, text = match.groups()
        if name in ("sample", "mapped"):  # see process.py
            continue
        if name == "env":
            variable, _, value = text.partition("=")
            variables[variable] = value
        elif name == "date" and text.isdecimal() and len(text) < 12:
            when = datetime.datetime.fromtimestamp(int(text), datetime.UTC)
            facts["date"] = when.isoformat(timespec="seconds")
        elif name.endswith("resident_kib") and text.isdecimal() and len(text) < 16:
            facts[name.replace("kib", "bytes")] = str(int(text) << 10)
        elif name == "command":
            facts["command"] = shlex.join(text.rstrip("\x1f").split("\x1f"))
        else:
            facts[name] = text
    found, notes = settings(variables)
    if aside := variables.get("HEAPWRIGHT_ASIDE", ""):
        facts["aside"] = aside
        names = ", ".join(Path(part).name for part in aside.split(":"))
        notes.append(
            f"LD_PRELOAD named {names}, which was set aside: the program was recorded on glibc's "
            "malloc."
        )
    others = [Path(part).name for part in re.split("[: ]", variables.get("LD_PRELOAD", "")) if part]
    if others := [name for name in others if not _OURS.fullmatch(name)]:
        facts["preload"] = ":".join(others)
    return Origin(facts, found, notes)


def settings(variables: dict[str, str]) -> tuple[dict[str, int], list[str]]:
    """What the environment tells glibc's malloc, by knob; and a note on what is no knob of it."""
    found, unknown = {}, []
    for variable, value in variables.items():
        if variable in ALIASES:
            found[ALIASES[variable]] = number(value)
        elif variable.startswith("MALLOC_"):
            unknown.append(f"{variable}={value}")
    for part in variables.get("GLIBC_TUNABLES", "").split(":"):
        name, _, value = part.partition("=")
        if name.startswith("glibc.malloc."):
            if name.removeprefix("glibc.malloc.") in TUNABLES:
                found[name.removeprefix("glibc.malloc.")] = number(value)
            else:
                unknown.append(part)
    notes = [f"What the environment asks of malloc and is not known: {', '.join(unknown)}."]
    return found, notes if unknown else []


def number(text: str) -> int:
    """A number as the loader reads it: decimal, octal or hexadecimal, as far as there are digits.

    A word of 64 bits, told as signed: -1 and 18446744073709551615 are the same.
    """
    match = _NUMBER.match(text)
    if not match:
        return 0
    sign, digits = match.groups()
    if digits[:2].lower() == "0x":
        value = int(digits, 16)
    elif digits[0] == "0":
        octal = re.match("[0-7]*", digits)
        value = int(octal[0] or "0", 8) if octal else 0
    else:
        value = int(digits)
    if value >> 64:
        return -1  # too large, whatever its sign: the largest there is
    word = (-value if sign == "-" else value) & ((1 << 64) - 1)
    return word - (1 << 64) if word >> 63 else word
