"""What settings come to: glibc's own parsers, from a tunable or a variable to malloc_par.

    --set, MALLOC_*_, GLIBC_TUNABLES ─► size_t or int32 ─► within its bounds? ─► do_set_* ─► a word
                                                       └─no─► ignored: it was never set

Terms      set: given, and taken by the real parser; a knob that was left alone has its default and
           changes nothing else, one that is set to its default may: each of the first four ends
           the mmap threshold's adaptation (no_dyn_threshold)
Versions   mmap_max may be negative, for none, in 2.31; mmap_threshold is at most 32 MiB up to 2.34;
           from 2.43 on tcache_count is 16 by default, tcache_max up to just below 4 MiB, and mxfast
           nothing; which cores count: see `cores_here`
Source     glibc 2.31 to 2.43 elf/dl-tunables.c (tunable_initialize, do_tunable_update_val),
           elf/dl-tunables.list (bounds), elf/dl-misc.c (_dl_strtoul);
           malloc/malloc.c (do_set_*), malloc/arena.c
Omits      glibc.malloc.perturb, check, hugetlb; a tcache_max of 4 GiB or more, which 2.43 takes
           modulo 4 GiB
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.versions import version_number, version_text

VERSIONS = ("2.31", "2.34", "2.35", "2.36", "2.39", "2.41", "2.43")
V2_31, V2_34, V2_35, V2_36, V2_39, V2_41, V2_43 = map(version_number, VERSIONS)
TCACHE_MAX_BYTES = 1032  # MAX_TCACHE_SIZE: largest request of the last small list
LARGE_TCACHE_MAX_BYTES = (1 << 22) - 24  # the same of the last large list, from 2.43 on
MMAP_THRESHOLD_LIMIT = 32 << 20  # HEAP_MAX_SIZE / 2, up to 2.34
TCACHE_MAX_COUNT = (1 << 16) - 1  # MAX_TCACHE_COUNT
MAX_FAST_BYTES = 160  # MAX_FAST_SIZE
WORDS = 1 << 64  # values of size_t
UNREACHABLE = 1 << 62  # bytes or counts: stands for every size_t that nothing ever reaches
CORES_LIMIT = 1 << 20  # far more than Linux knows
FIXING = ("top_pad", "trim_threshold", "mmap_threshold", "mmap_max")  # set no_dyn_threshold


class Config(NamedTuple):
    """The knobs of mallopt(3) and of GLIBC_TUNABLES, with their defaults; sizes in bytes.

    As in the real system, setting one of the first four ends the mmap threshold's adaptation, also
    at its default; and a value that the real parser refuses is as if it had not been given.
    """

    top_pad: int = 128 << 10  # M_TOP_PAD: extra bytes at each growth of the heap
    trim_threshold: int = 128 << 10  # M_TRIM_THRESHOLD: top size that is given back; -1 never
    mmap_threshold: int = 128 << 10  # M_MMAP_THRESHOLD: requests mapped on their own
    mmap_max: int = 65536  # M_MMAP_MAX: areas mapped at once
    mxfast: int = 128  # M_MXFAST: largest request kept in fastbins, at most 160; up to 2.41
    arena_max: int = 0  # M_ARENA_MAX, MALLOC_ARENA_MAX: 0 stands for 8 x cores
    arena_test: int = 8  # M_ARENA_TEST: arenas before cores are counted
    cores: int = 0  # 0 stands for this machine's
    tcache_count: int = 7  # blocks per list of the thread cache, at most 65,535; from 2.43 on 16
    tcache_max: int = TCACHE_MAX_BYTES  # largest request kept in the thread cache, 0 one list
    tcache_unsorted_limit: int = 0  # chunks binned while looking for more; 0: no limit
    version: int = V2_36


class Parameters(NamedTuple):
    """malloc_par and what else ptmalloc_init sets: words that `boot` stores."""

    trim_threshold: int
    top_pad: int  # as signed as its sums with sizes are
    mmap_threshold: int
    mmap_max: int
    no_dynamic_threshold: int
    max_fast: int  # global_max_fast: chunk bytes
    tcache_bins: int
    tcache_count: int
    tcache_unsorted_limit: int
    arena_max: int
    arena_test: int
    cores: int
    # What goes by the version: see `system`
    version: int
    direct_below: int
    tcache_largest: int
    record_bytes: int
    heap_info_bytes: int
    mapped_extra: int
    mapped_tail: int
    hooked: int


# Least and largest value that the parser or do_set_* takes; of a size_t nothing is negative.
BOUNDS = {
    "top_pad": (0, WORDS - 1),
    "trim_threshold": (0, WORDS - 1),
    "mmap_threshold": (0, WORDS - 1),
    "mmap_max": (0, (1 << 31) - 1),
    "mxfast": (0, MAX_FAST_BYTES),
    "arena_max": (1, WORDS - 1),
    "arena_test": (1, WORDS - 1),
    "tcache_count": (0, TCACHE_MAX_COUNT),
    "tcache_max": (0, TCACHE_MAX_BYTES),
    "tcache_unsorted_limit": (0, WORDS - 1),
}


def bounds(knob: str, version: int) -> tuple[int, int]:
    """The same in that version."""
    if knob == "mmap_max" and version < V2_34:
        return -1 << 31, (1 << 31) - 1
    if knob == "mmap_threshold" and version < V2_35:
        return 0, MMAP_THRESHOLD_LIMIT
    if knob == "tcache_max" and version >= V2_43:
        return 0, LARGE_TCACHE_MAX_BYTES
    return BOUNDS[knob]


def size_t(value: int) -> int:
    """What _dl_strtoul makes of a number: -1 is the largest, and so is all that is too large."""
    head, digit = divmod(abs(value), 10)
    return WORDS - 1 if head >= (WORDS - 1 - digit) // 10 else value % WORDS


def taken(settings: Mapping[str, int], version: int = V2_36) -> dict[str, int]:
    """Those that the real parser of that version takes, as the numbers it makes of them."""
    found = {}
    for knob, value in settings.items():
        low, high = bounds(knob, version)
        number = size_t(value)
        if low < 0 and number > WORDS >> 1:
            number -= WORDS
        if low <= number <= high:
            found[knob] = number
    return found


def ignored(settings: Mapping[str, int]) -> list[str]:
    """A sentence for each that the real parser does not take; see `managers/contract.py`."""
    version = settings.get("version", V2_36)
    kept = taken({knob: value for knob, value in settings.items() if knob in BOUNDS}, version)
    said = []
    if "mxfast" in kept and version >= V2_43:
        said.append(f"mxfast={settings['mxfast']} changes nothing: 2.43 has no fastbins.")
    for knob in settings:
        if knob in BOUNDS and knob not in kept:
            low, high = bounds(knob, version)
            most = f" to {high:,}" if high < WORDS - 1 else " or more"
            said.append(
                f"{knob}={settings[knob]} is ignored, as glibc's own parser does: it takes "
                f"{low:,}{most}."
            )
    return said


def configured(settings: Mapping[str, int]) -> Parameters:
    """The parameters after ptmalloc_init with these settings; see `managers/contract.py`."""
    own = {knob: value for knob, value in settings.items() if knob not in BOUNDS}
    if not 0 <= own.get("cores", 0) <= CORES_LIMIT:
        raise HeapwrightError(f"glibc.cores is 0, for this machine's, to {CORES_LIMIT:,}.")
    version = own.get("version", V2_36)
    if version_text(version) not in VERSIONS:
        raise HeapwrightError(
            f"glibc has no version {version_text(version)} here; it has: {', '.join(VERSIONS)}."
        )
    given = taken({knob: value for knob, value in settings.items() if knob in BOUNDS}, version)
    knobs = Config()._replace(**given, **own)
    late = version >= V2_43
    if late and "tcache_count" not in given:
        knobs = knobs._replace(tcache_count=16)
    max_fast, bins = fast_limit(knobs.mxfast), cache_lists(knobs.tcache_max)
    largest = (knobs.tcache_max + 8 + 15) & ~15
    return Parameters(
        trim_threshold=min(knobs.trim_threshold, UNREACHABLE),
        top_pad=padding(knobs.top_pad),
        mmap_threshold=min(knobs.mmap_threshold, UNREACHABLE),
        mmap_max=knobs.mmap_max,
        no_dynamic_threshold=int(any(knob in given for knob in FIXING)),
        max_fast=0 if late else max_fast,
        tcache_bins=min(bins, 64),
        tcache_count=knobs.tcache_count,
        tcache_unsorted_limit=min(knobs.tcache_unsorted_limit, UNREACHABLE),
        arena_max=min(knobs.arena_max, UNREACHABLE),
        arena_test=min(knobs.arena_test, UNREACHABLE),
        cores=knobs.cores or cores_here(version),
        version=version,
        direct_below=1024 if version >= V2_41 else 0,
        tcache_largest=largest if bins > 64 else 0,
        record_bytes=2112 if late else 2200,
        heap_info_bytes=48 if version >= V2_35 else 32,
        mapped_extra=16 if late else 8,
        mapped_tail=16 if late else 0,
        hooked=int(version < V2_34),
    )


def cores_here(version: int) -> int:
    """This machine's processors as that version counts them: from 2.34 to 2.38 those that the
    process may use, else those that are online (__get_nprocs)."""
    if V2_34 <= version < V2_39:
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def padding(value: int) -> int:
    """A size_t that is added to sizes, as int64: near the top of its range it takes away."""
    return value - WORDS if value >= WORDS - UNREACHABLE else min(value, UNREACHABLE)


def fast_limit(mxfast: int) -> int:
    """Chunk bytes of the largest fastbin for requests up to `mxfast` (set_max_fast)."""
    return 16 if mxfast <= 7 else (mxfast + 8) & ~15


def cache_lists(tcache_max: int) -> int:
    """Lists of the thread cache for requests up to `tcache_max` (do_set_tcache_max)."""
    return (max((tcache_max + 8 + 15) & ~15, 32) - 17 >> 4) + 1
