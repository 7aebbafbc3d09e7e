"""Tables of events, figure by figure: the last value of a column and the first that none has."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import tabular
from heapwright.trace.importers.source import in_memory
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN
from text_recordings import imported, told

WORD = 1 << 31
TWO = {"op": ["malloc", "memalign"], "slot": [0, 1], "size": [5, 6]}


def table_of(**columns):
    """(events, the table) of rows with slots."""
    table = tabular.Table(in_memory(b"op,slot,size\n"), {})
    made = {name: pa.array(cells) for name, cells in (TWO | columns).items()}
    (events,) = table._verbatim(made)
    return events, table


@pytest.mark.parametrize(
    ("column", "last", "first"),
    [
        *((name, WORD - 1, WORD) for name in ("slot", "thread", "slack", "field", "target")),
        *((name, -1, -2) for name in ("slot", "thread", "slack", "field", "target")),
        *((name, -1, -2) for name in ("size", "time_ns", "address")),
        *((name, 1 << 40, -2) for name in ("size", "time_ns", "address")),
        ("align", 1 << 47, (1 << 47) + 1),
        ("align", 0, -1),
    ],
)
def test_the_edges_of_a_tables_figures(column, last, first):
    for value in (last, first):
        cells = {column: [0, value]}
        if value == last:
            assert getattr(table_of(**cells)[0], column)[1] == (47 if value == 1 << 47 else value)
        else:
            with pytest.raises(HeapwrightError, match=rf"row 2: an? {column} is out of range"):
                table_of(**cells)


def test_empty_cells_and_alignments_of_a_table():
    made, table = table_of(slot=[None, 1], thread=[3, None], align=[2, 3], time_ns=[None, 7])
    assert (made.slot.tolist(), made.thread.tolist()) == ([-1, 1], [3, 0])
    assert (made.align.tolist(), made.time_ns.tolist()) == ([0, 2], [0, 7])
    assert (made.op.tolist(), table._unaligned) == ([MALLOC, MEMALIGN], 1)
    _, table = table_of(align=[1, 1])
    assert table._unaligned == 0
    for blanks, size in ((" ", 1), (" " * 8, 1), (" " * 9, None)):
        table = tabular.Table(in_memory(f"op,object,size\nmalloc,1,{blanks}\n".encode()), {})
        if size is None:
            with pytest.raises(HeapwrightError, match="after row 0"):
                list(table.events())
        else:
            assert len(list(table.events())) == table._empty["size"] == 1


def test_names_of_sites_in_a_table():
    labels = ["x" * 400, "x" * 401, "y" * 402, None, " ", "y" * 402, "z"]
    table = tabular.Table(in_memory(b""), {})
    for cells in (labels, labels[:3]):
        sites = table._sites({"op": pa.array(["malloc"] * len(cells)), "site": pa.array(cells)})
        assert sites.tolist() == [0, 0, 1, -1, -1, 1, 2][: len(cells)]
    assert table.labels() == ["x" * 400, "y" * 400, "z"]
    assert (table._long_labels, table._without_site) == (1, 0)


def test_operations_of_a_table():
    table = tabular.Table(in_memory(b""), {})

    def operations(cells, **more):
        return table._operations({"op": pa.array(cells)} | more).tolist()

    last = len(tabular.OPERATIONS) - 1
    assert operations([0, last]) == [0, last]
    assert operations([" Malloc", "FREE", "f"]) == [MALLOC, FREE, FREE]
    assert operations(["new"], field=1) != operations(["new"]) == [MALLOC]
    most = 4 * len(tabular.WORDS)
    for cells, words in (
        *(([0, -1], "row 2: -1 is no operation"), ([0, last + 1], "row 2: .* is no operation")),
        ([f"w{n}" for n in range(most)], "row 1: 'w0' is no operation"),
        ([f"w{n}" for n in range(most + 1)], "an operation is missing or unknown"),
        (["malloc", None], "an operation is missing or unknown"),
    ):
        with pytest.raises(HeapwrightError, match=words):
            operations(cells)


def test_columns_of_a_table(tmp_path, monkeypatch):
    present = ["op", " Slot ", "object", "old", "size", "field", "thread"]
    found = tabular.Table(in_memory(b""), {})._named(present)
    assert found == {
        name.strip().lower(): name for name in present if name not in ("object", "old")
    }
    found = tabular.Table(in_memory(b""), {"object": "object"})._named(present)
    assert set(found) == {"op", "object", "old", "size", "thread"}
    many = [f"c{n}" for n in range(22)]
    with pytest.raises(HeapwrightError, match=r"only c0, .*, c19; mend"):
        tabular.Table(in_memory(b""), {"op": "none"})._named(many)
    with pytest.raises(
        HeapwrightError, match=r"for op and size and object: .* --map op=COLUMN,size"
    ):
        tabular.Table(in_memory(b""), {})._named(many)
    monkeypatch.setattr(tabular, "COLUMNS_LIMIT", 3)
    pq.write_table(pa.table({"op": ["malloc"], "slot": [0], "size": [7]}), tmp_path / "t")
    with open(tmp_path / "t", "rb") as file:
        size = pq.ParquetFile(file).metadata.row_group(0)
    room = sum(size.column(n).total_uncompressed_size for n in range(3))
    contents = ((tmp_path / "t").read_bytes(), b"op,slot,size\nmalloc,0,7\n")
    for limit, bytes_, words in ((3, room, ""), (2, room, "2 columns"), (3, room - 1, "row group")):
        monkeypatch.setattr(tabular, "COLUMNS_LIMIT", limit)
        monkeypatch.setattr(tabular, "GROUP_BYTES", bytes_)
        for content in contents[: 1 if "group" in words else 2]:
            table = tabular.Table(in_memory(content), {})
            if words:
                with pytest.raises(HeapwrightError, match=words):
                    list(table.events())
            else:
                assert [batch.size.tolist() for batch in table.events()] == [[7]]
    with pytest.raises(HeapwrightError, match="row group is larger than 0 bytes"):
        monkeypatch.setattr(tabular, "GROUP_BYTES", 0)
        list(tabular.Table(in_memory(contents[0]), {}).events())


def test_a_table_of_many_threads(tmp_path):
    rows = "".join(f"malloc,{n},{n},{9999 - n}\n" for n in range(1, 394))
    trace = imported("op,object,size,thread\n" + rows, tmp_path)
    assert [row[2:] for row in told(trace)] == [(n, 0, n - 1) for n in range(1, 394)]


@pytest.mark.parametrize("text", ["op", "op=", "=kind", "name=kind", "op=kind,", ""])
def test_a_map_of_columns(text):
    assert tabular.parse_map(" op =kind,size=n,field=f") == {
        "op": "kind",
        "size": "n",
        "field": "f",
    }
    with pytest.raises(HeapwrightError, match="write FIELD=COLUMN"):
        tabular.parse_map(text)
