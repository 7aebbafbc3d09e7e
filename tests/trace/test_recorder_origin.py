"""What a recording's text tells of the machine, the command and the settings of malloc."""

import pytest

from heapwright.trace.recorder.origin import number, origin, settings

TEXT = """77 (a) b (c) S 9 9
@libc 2.36
@kernel 6.1
@cores 4
@date 86400
@resident_kib 3
@command ls\x1f-l\x1fa file\x1f
@env MALLOC_ARENA_MAX=2
@env LD_PRELOAD=/x/recorder-0123456789abcdef.so:/lib/libm.so.6
@env HEAPWRIGHT_ASIDE=/lib/libjemalloc.so.2:libtcmalloc.so
55d000000000-55d000001000 r--p 00000000 fe:00 1    /bin/prog
@Nonsense
"""


def test_origin():
    told = origin(TEXT)
    assert told.facts == {
        "libc": "2.36",
        "kernel": "6.1",
        "cores": "4",
        "date": "1970-01-02T00:00:00+00:00",
        "resident_bytes": "3072",
        "command": "ls -l 'a file'",
        "aside": "/lib/libjemalloc.so.2:libtcmalloc.so",
        "preload": "libm.so.6",
    }
    assert told.settings == {"arena_max": 2}
    assert len(told.notes) == 1 and "libjemalloc.so.2, libtcmalloc.so" in told.notes[0]


def test_settings_of_the_environment():
    found, notes = settings(
        {
            "MALLOC_TRIM_THRESHOLD_": "-1",
            "MALLOC_TOP_PAD_": "64k",
            "MALLOC_PERTURB_": "",
            "MALLOC_OPTIONS": "J",
            "GLIBC_TUNABLES": "glibc.malloc.top_pad=1:glibc.cpu.hwcaps=x:glibc.malloc.top_pad=0x20"
            ":glibc.malloc.new=3:glibc.malloc.mxfast=010",
        }
    )
    assert found == {"trim_threshold": -1, "top_pad": 32, "perturb": 0, "mxfast": 8}
    assert notes == [
        "What the environment asks of malloc and is not known: MALLOC_OPTIONS=J, "
        "glibc.malloc.new=3."
    ]
    assert settings({}) == ({}, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("65536", 65536),
        (" 12 ", 12),
        ("0x1F", 31),
        ("017", 15),
        ("089", 0),
        ("-1", -1),
        ("18446744073709551615", -1),
        ("99999999999999999999999", -1),
        ("-99999999999999999999999", -1),
        ("-9223372036854775808", -(1 << 63)),
        ("128k", 128),
        ("", 0),
        ("many", 0),
    ],
)
def test_numbers_as_the_loader_reads_them(text, value):
    assert number(text) == value
