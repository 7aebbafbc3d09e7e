"""Sizes and counts as people type them: the other way round stands in `words`.

Sizes and knobs count in powers of 1024 (64k = 65,536), counts of events in powers of 1000
(1M = 1,000,000).
"""

import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.versions import VERSION_KNOBS, version_number

FILES = {"classes"}  # knobs whose value may be given as a file: see `class_tables`

_NUMBER = re.compile(r"(-?[0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmgt]?)(i?b|i)?", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)
_WORDS = {"true": 1, "on": 1, "yes": 1, "false": 0, "off": 0, "no": 0}
_LARGEST = (1 << 63) - 1


def _parse(text: str, base: int, what: str) -> int:
    text = text.strip()
    value = Fraction(-1, 2)
    if _HEXADECIMAL.fullmatch(text):
        value = Fraction(int(text, 16))
    elif match := _NUMBER.fullmatch(text):
        digits, suffix, _ = match.groups()
        power = " kmgt".index(suffix.lower() or " ")
        value = Fraction(re.sub("[_,]", "", digits)) * base**power
    if value.denominator != 1:
        raise HeapwrightError(f"{text!r} is not {what}.")
    if not -_LARGEST <= value <= _LARGEST:
        raise HeapwrightError(f"{text!r} is too large: at most {_LARGEST:,}.")
    return int(value)


def parse_bytes(text: str) -> int:
    """Bytes from "4096", "64k", "1.5M", "2GiB", "0x1000"; suffixes are powers of 1024."""
    return _parse(text, 1024, "a size; write a whole number of bytes, as 4096, 64k or 1.5M")


def parse_count(text: str) -> int:
    """A number from "1000", "10k", "1.5M"; suffixes are powers of 1000."""
    return _parse(text, 1000, "a count; write a whole number, as 1000, 10k or 1.5M")


def parse_knob(knob: str, value: str) -> int:
    """The value of a knob: a size, or on/off, true/false, yes/no; of `version` as 2.36, of
    `classes` the file of a table."""
    if knob in FILES:
        return _table(value.strip())
    if knob in VERSION_KNOBS:
        try:
            return version_number(value.strip())
        except ValueError as error:
            raise HeapwrightError(f"{error}.") from None
    word = _WORDS.get(value.strip().lower())
    return parse_bytes(value) if word is None else word


def _table(value: str) -> int:
    """The number of the table in a file, or that number itself."""
    from heapwright.class_tables import keep, read_table  # most knobs are no files

    with suppress(HeapwrightError):
        return parse_bytes(value)
    return keep(read_table(Path(value)))
