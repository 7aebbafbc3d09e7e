"""The rows of a sweep: one Parquet file, and beside it, while the sweep goes on, its parts.

    add(row)  ─► OUT.parts/<random>.parquet      at once, so that a kill loses no finished row
                 GATHERED of them ─► one part
    finish()  ─► OUT, written beside and renamed; then the parts are removed

OUT and its parts lie where fsspec can write: here, on an object store, in memory. Row for row `key`
says what was run; a key that is there twice (killed between gathering and removing) is one row.
"""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.frames import results_table
from heapwright.result import Result
from heapwright.trace.remote import file_system, refused

if TYPE_CHECKING:
    import pyarrow

GATHERED = 64  # parts that become one


@cache
def schema() -> pyarrow.Schema:
    """Columns of a row: those of `frames.results_table`, and what tells one row from another."""
    import pyarrow

    peak = {"resident_bytes": 0}
    none = Result("", "twin", 0, 0.0, peak, 0, 0)
    more = {
        "touch": pyarrow.string(),
        "huge_pages": pyarrow.string(),
        "notes": pyarrow.list_(pyarrow.string()),
        "error": pyarrow.string(),  # why there are no figures; null where there are
        "heapwright": pyarrow.string(),  # version
        "key": pyarrow.string(),
    }
    fields = [*results_table([none], [""]).schema, *map(pyarrow.field, more, more.values())]
    return pyarrow.schema(fields)


class RowStore:
    """The rows at `name`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.system, self.path = file_system(name)
        self.folder = f"{self.path}.parts"
        self.parts: list[str] = []

    def rows(self) -> list[dict[str, Any]]:
        """Every row that there is, each key once; the file's before the parts'."""

        with self._told("read"):
            self.parts = self._listed()
            whole = [self.path] if self.system.exists(self.path) else []
        return list({row["key"]: row for row in self._read([*whole, *self.parts])}.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row at once."""
        with self._told("write"):
            self.system.makedirs(self.folder, exist_ok=True)
        self._part([row])
        if len(self.parts) >= GATHERED:
            old, self.parts = self.parts, []
            self._part(self._read(old))
            with self._told("write"):
                self.system.rm(old)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all `rows` as the file and remove the parts."""
        self._write(self.path, rows)
        self.parts = []
        with self._told("write"):
            if self.system.exists(self.folder):
                self.system.rm(self.folder, recursive=True)

    def _listed(self) -> list[str]:
        if not self.system.exists(self.folder):
            return []
        return sorted(
            path for path in self.system.ls(self.folder, detail=False) if path.endswith(".parquet")
        )

    def _read(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of some files; HeapwrightError for one that has none."""
        import pyarrow
        import pyarrow.parquet as pq

        rows = []
        for path in paths:
            with self._told("read"):
                content = self.system.cat_file(path)
            try:
                table = pq.read_table(io.BytesIO(content))
            except (pyarrow.ArrowInvalid, OSError):
                table = None
            if table is None or "key" not in table.column_names:
                raise HeapwrightError(
                    f"{self.system.unstrip_protocol(path)} holds no rows of a sweep; name "
                    "another output, or remove it."
                )
            rows += table.to_pylist()
        return rows

    def _part(self, rows: Sequence[Mapping[str, Any]]) -> None:
        path = f"{self.folder}/{uuid.uuid4().hex}.parquet"
        self._write(path, rows)
        self.parts.append(path)

    def _write(self, path: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a file whole: an object store does so by itself, a file system by renaming."""
        import pyarrow
        import pyarrow.parquet as pq

        content = io.BytesIO()
        pq.write_table(pyarrow.Table.from_pylist(list(rows), schema()), content)
        beside = f"{path}.partial"
        with self._told("write"):
            self.system.pipe_file(beside, content.getvalue())
            self.system.mv(beside, path)

    @contextlib.contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system has its own
            raise refused(f"cannot {verb}", self.name, error) from None
