"""Files that hold sums are known by their first bytes and answered in a sentence."""

import gzip
import pickle
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file
from heapwright.trace.importers.sums import HEAD_BYTES, KINDS, recognised, told
from heapwright.trace.store import Trace

sys.path.insert(0, str(Path(__file__).parents[2]))
from fuzz.trial import CORPUS

# Heads as the real tools wrote them: Go 1.27, node 18, OpenJDK 17, valgrind 3.19, jemalloc 5.3.
PPROF = bytes.fromhex(
    "5a0408011002608080200a04080310040a04080510020a04080610040a0408071002220f080118c6fcb40222040801"
    "100410012a0a080110081808200928042210080218c6f192022205080210ae0210012a0b0802100a180a200b289901"
)
CPU_PPROF = bytes.fromhex(
    "48cbf8f6edeb9a86f6180a04080110020a0408031004508a8ceb88045a04080310046080ade20422"
)
SAMPLES = {
    "jemalloc": b"heap_v2/524288\n  t*: 6: 8387 [0: 0]\n  t0: 6: 8387 [0: 0]\n@ 0x7faa1f4a2630\n",
    "gperftools": b"heap profile:    12:   3456 [    20:   9999] @ heap_v2/524288\n",
    "pprof": PPROF,
    "massif": b"desc: --massif-out-file=massif.out\ncmd: ./a\ntime_unit: i\n#-----------\n",
    "dhat": b'{"dhatFileVersion":2\n,"mode":"heap","verb":"Allocated"\n',
    "HPROF": b"JAVA PROFILE 1.0.2\0\0\0\0\x08",
    "Flight Recorder": b"FLR\0\0\x02\0\x01",
    "JVM's collections": b"[0.003s][info][gc] Using G1\n[2.182s][info][gc] GC(0) Pause Young\n",
    "Go's collections": b"gc 1 @0.012s 2%: 0.02+0.3+0.0 ms clock, 0.04+0/0.1/0 ms cpu\n",
    "V8's collections": b"[31015:0x6971d60]       73 ms: Scavenge 3.9 (4.0) -> 3.0 (5.0) MB\n",
    "snapshot of Chrome": b'{"snapshot":{"meta":{"node_fields":["type","name","id"',
    "sampling heap profile of Chrome": b'{"head":{"callFrame":{"functionName":"(root)"',
    "heap dump of Go": bytes.fromhex("676f312e3720686561702064756d700a06000880"),
    "event pipe": b"Nettrace\x14\0\0\0!FastSerialization.1",
    "recording of perf": bytes.fromhex("50455246494c453268000000000000009000000000000000"),
    "statistics of jemalloc": b"___ Begin jemalloc statistics ___\nVersion: 5.3.0\n",
    "malloc_info": b'<malloc version="1">\n<heap nr="0">\n<sizes>\n',
    "statistics of tcmalloc": b"-" * 48 + b"\nMALLOC:        1234 (    0.0 MiB) Bytes in use\n",
    "core dump": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\0\x3e\0",
    "program or a library": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0",
    "a pickle, which is never opened": pickle.dumps({"a": 1}),
}
OTHER_FORMS = {
    "pprof": CPU_PPROF,
    "JVM's collections": b"2015-05-26T14:45:37.987-0200: 151.126: [GC (Allocation Failure) 151.1\n",
    "core dump": b"\x7fELF\x01\x02\x01" + bytes(9) + b"\0\x04\0\x14",
    "Go's collections": b"listening on :80\ngc 12 @3.0s 1%: 0.02+0.3+0.0 ms clock\n",
}
JVM = (
    b"[2024-05-01T10:00:00.123+0000][0.1s][info][gc,start] GC(0) Pause Young\n",
    b"0.123: [Full GC (Ergonomics) 1M->1M(2M), 0.1 secs]\n",
    b"OpenJDK 64-Bit Server VM (25.292-b10) for linux\n0.1: [GC (System.gc()) 1K->2K(3K)]\n",
)


@pytest.mark.parametrize(
    ("what", "content"), [*SAMPLES.items(), *OTHER_FORMS.items(), *(("JVM", log) for log in JVM)]
)
def test_each_is_known_and_answered_by_every_command(what, content, tmp_path):
    for packed in (content, gzip.compress(content)):
        path = tmp_path / "file"
        path.write_bytes(packed)
        sentence = told(path)
        assert what in sentence and sentence.startswith(f"{path} is ") and "\n" not in sentence
        assert "nothing to replay; " in sentence and "heapwright record" in sentence
        with pytest.raises(HeapwrightError) as raised:
            import_file(path, tmp_path / "x")
        assert str(raised.value) == sentence
        with pytest.raises(HeapwrightError) as raised:
            Trace.open(path)
        assert str(raised.value) == sentence


def test_every_kind_has_a_sample():
    assert {recognised(content) for content in SAMPLES.values()} | {
        next(kind for kind in KINDS if "tracemalloc" in kind.what)
    } == set(KINDS)


def test_a_real_tracemalloc_snapshot_is_not_opened(tmp_path):
    """Nor would a pickle be that runs a program when it is."""
    tracemalloc.start()
    kept = [bytes(n) for n in range(100)]
    tracemalloc.take_snapshot().dump(str(tmp_path / "snapshot"))
    tracemalloc.stop()
    assert "a tracemalloc snapshot" in told(tmp_path / "snapshot") and kept

    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "evil").write_bytes(pickle.dumps(Runs()))
    assert "could run code" in told(tmp_path / "evil") and not (tmp_path / "ran").exists()


def test_a_real_program_and_the_commands(tmp_path):
    profile = tmp_path / "je.heap"
    profile.write_bytes(SAMPLES["jemalloc"])
    for command in ("info", "compare", "lower-bound"):
        ended = CliRunner().invoke(app, [command, str(profile)])
        assert ended.exit_code == 1 and "a heap profile of jemalloc" in ended.stderr
    assert "a program or a library" in told(Path(sys.executable).resolve())


def test_recordings_are_not_taken_for_sums(tmp_path):
    for name, contents in CORPUS.items():
        for content in contents if name != "gc_log" else ():  # is one
            assert recognised(content[:HEAD_BYTES]) is None, name
    for other in (b"", b"\n", b"op,object,size\n", b"# notes on [gc] of ours\n", b"gcc 12\n"):
        assert recognised(other) is None


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda text, at, odd: text[: at % len(text)] + odd + text[at % len(text) :],
            st.sampled_from(sorted(SAMPLES.values())),
            st.integers(0, 200),
            st.binary(max_size=9),
        ),
    )
)
def test_whatever_comes_in_is_one_kind_or_none(content):
    kind = recognised(content)
    assert kind is None or kind in KINDS
