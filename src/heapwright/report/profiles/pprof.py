"""pprof's format: a gzipped protobuf message, written by hand as few of its fields are needed.

    field = number << 3 | 0, varint        integer
          = number << 3 | 2, length, body  text, message, packed integers

Source     google/pprof: proto/profile.proto; protobuf.dev: encoding
"""

import gzip
from collections.abc import Iterable

from heapwright.report.profiles.profile import UNKNOWN, Profile, placed

SUMMARY = "pprof's profile.proto, gzipped, all kinds of value"
ENDING = ".pb.gz"

# Numbers of fields: of Profile, and of the messages within it
SAMPLE_TYPE, SAMPLE, LOCATION, FUNCTION, STRING, DEFAULT_TYPE = 1, 2, 4, 5, 6, 14
TYPE, UNIT = 1, 2
LOCATION_IDS, VALUES = 1, 2
ID, LINES = 1, 4
FUNCTION_ID, LINE = 1, 2
NAME, SYSTEM_NAME, FILE = 2, 3, 4
_WORD = (1 << 64) - 1


def written(profile: Profile, kind: str | None = None) -> bytes:
    """The file; `kind` is what pprof shows unless told otherwise."""
    strings: dict[str, int] = {"": 0}
    functions: dict[tuple[str, str], int] = {}
    body: list[bytes] = []

    def string(text: str) -> int:
        return strings.setdefault(text, len(strings))

    def location(number: int, names: list[str]) -> bytes:
        """A place in the program; functions inlined there come first, innermost first."""
        lines = b""
        for name in reversed(names):
            place = placed(name)
            function = functions.setdefault((place.function, place.file), len(functions) + 1)
            line = _integer(FUNCTION_ID, function) + _integer(LINE, place.line)
            lines += _bytes(LINES, line)
        return _bytes(LOCATION, _integer(ID, number) + lines)

    for one in profile.kinds:
        named = _integer(TYPE, string(one.name)) + _integer(UNIT, string(one.unit))
        body.append(_bytes(SAMPLE_TYPE, named))
    unknown = len(profile.frames) + 1
    used = set()
    for row in profile.rows():
        places = [int(profile.stacks.frame[node]) + 1 for node in profile.nodes(row)] or [unknown]
        used.update(places)
        values = profile.values[row].tolist()
        body.append(_bytes(SAMPLE, _packed(LOCATION_IDS, places) + _packed(VALUES, values)))
    for number in sorted(used):
        names = [UNKNOWN] if number == unknown else profile.frames[number - 1]
        body.append(location(number, names))
    for (name, file), number in functions.items():
        named = _integer(NAME, string(name)) + _integer(SYSTEM_NAME, string(name))
        body.append(_bytes(FUNCTION, _integer(ID, number) + named + _integer(FILE, string(file))))
    body.append(_integer(DEFAULT_TYPE, string(profile.kinds[profile.column(kind)].name)))
    body += [_bytes(STRING, text.encode()) for text in strings]
    return gzip.compress(b"".join(body), 6, mtime=0)


def _varint(value: int) -> bytes:
    value &= _WORD
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))
