"""Tiles of a map in a cache that holds them softly: soft, weak and phantom references, finalisers.

    view     array ─► tile ─► pixels        what is shown, and so held; the eldest is replaced
                        ╰───► name
    cache    array ─► soft reference ┄► tile      asked for at each use of the tile
    names    array ─► weak entry ┄► name          as in a WeakHashMap: the entry holds what belongs
                          ╰──► properties         to the name
    cleaners array ─► phantom reference ┄► buffer of the tile
    files    in frames: read and dropped, each with a finaliser

A step asks for a tile, popular ones more often. One that is shown is used; any other is made anew,
from a file and through a buffer, and is shown. What is shown no longer is held by the cache alone,
until a collector clears its reference. Whether an old tile would have been found there cannot be
told in a trace, which is made once for all collectors: so it is never asked for again.

Sizes are those of Java's classes (`hotspot.md`): 48 bytes of a soft reference in the heap, 32 of
a weak or phantom one, 40 of an entry.
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice
from heapwright.trace.schema import PHANTOM, SOFT, WEAK

SUMMARY = "tiles in a cache of soft references; weak entries, phantom references, finalisers"
SITES = (
    *("view", "cache", "names", "cleaners", "tile", "pixels", "name", "soft reference"),
    *("weak entry", "properties", "phantom reference", "buffer", "file", "contents"),
)
VIEW, CACHE, NAMES, CLEANERS, TILE, PIXELS, NAME, SOFTLY = range(8)
ENTRY, PROPERTIES, CLEANER, BUFFER, FILE, CONTENTS = range(8, 14)
SOFT_BYTES, PHANTOM_BYTES, ENTRY_BYTES, FILE_BYTES = 32, 16, 24, 16
TILE_BYTES, NAME_BYTES, PROPERTIES_BYTES, WORD = 24, 24, 40, 8
BUFFERED = 4  # one tile in so many has a buffer


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    tiles: int = 400  # of the map, and of the cache
    shown: int = 24
    names: int = 500  # entries of the weak map
    min_bytes: int = 200  # of pixels
    max_bytes: int = 20_000


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "tiles": (1, 1 << 24),
    "shown": (1, 1 << 20),
    "names": (1, 1 << 24),
    "min_bytes": (1, 1 << 30),
    "max_bytes": (1, 1 << 30),
}


def run(m: Mutator, parameters: Parameters) -> list[str]:
    """The program."""
    dice = Dice(parameters.seed)
    counts = (parameters.shown, parameters.tiles, parameters.names, _cleaners(parameters))
    tables = [m.root(m.new(WORD * count, count, site)) for site, count in enumerate(counts)]
    shown: dict[int, int] = {}  # by tile its soft reference, the eldest first
    made = used = 0
    while m.objects < parameters.objects:
        tile = dice.size(1, parameters.tiles) - 1
        if tile in shown:
            m.get(shown[tile])
            used += 1
            continue
        if len(shown) == parameters.shown:
            shown.pop(next(iter(shown)))
        with m.frame():
            shown[tile] = _show(m, dice, (tables, tile, made), parameters)
        made += 1
    return [f"Of {made + used:,} tiles that were asked for {used:,} were shown, and so used again."]


def _show(m: Mutator, dice: Dice, where: tuple[list[int], int, int], parameters: Parameters) -> int:
    """Make a tile, the so many-th, from its file and show it; its soft reference."""
    tables, number, made = where
    file = m.finalisable(FILE_BYTES, 2, FILE)
    m.write(file, 0, m.new(dice.size(64, 1024), 0, CONTENTS))
    tile = m.new(TILE_BYTES, 3, TILE)
    m.write(tile, 0, m.new(dice.size(parameters.min_bytes, parameters.max_bytes), 0, PIXELS))
    name = m.new(NAME_BYTES, 0, NAME)
    m.write(tile, 1, name)
    entry = m.refer(WEAK, name, ENTRY_BYTES, 3, ENTRY)
    m.write(entry, 1, m.new(PROPERTIES_BYTES, 0, PROPERTIES))
    m.write(tables[NAMES], dice.below(parameters.names), entry)
    if made % BUFFERED == 0:
        buffer = m.new(dice.size(64, 2048), 0, BUFFER)
        m.write(tile, 2, buffer)
        cleaner = m.refer(PHANTOM, buffer, PHANTOM_BYTES, 1, CLEANER)
        m.write(tables[CLEANERS], made // BUFFERED % _cleaners(parameters), cleaner)
    softly = m.refer(SOFT, tile, SOFT_BYTES, 1, SOFTLY)
    m.write(tables[CACHE], number, softly)
    m.write(tables[VIEW], made % parameters.shown, tile)
    return softly


def _cleaners(parameters: Parameters) -> int:
    """Buffers that are waited for at once."""
    return max(1, parameters.tiles // BUFFERED)
