"""How a trace lies in Parquet: columns, encodings, keys; and what pyarrow may raise."""

import pyarrow as pa

from heapwright.trace.schema import COLUMNS

ROW_GROUP_EVENTS = 1 << 18  # what two of them take fits caches: read faster than four times as long
ROW_GROUP_LIMIT = 1 << 22  # events; a row group that claims more is refused
FOOTER_BYTES = 1 << 26  # the longest footer that is read
FACTS_KEY, SITES_KEY, STACKS_KEY = b"heapwright", b"heapwright.sites", b"heapwright.stacks"
PROCESS_KEY, NAMES_KEY = b"heapwright.process", b"heapwright.names"
ARENAS_KEY, DOORS_KEY = b"heapwright.arenas", b"heapwright.doors"
COLLECTIONS_KEY = b"heapwright.collections"
SCHEMA = pa.schema(
    [pa.field(name, pa.from_numpy_dtype(dtype), nullable=False) for name, dtype in COLUMNS.items()]
)
# Those of traces that older versions wrote: without domains, and before that without graphs
OLDER_SCHEMAS = (pa.schema(list(SCHEMA)[:-1]), pa.schema(list(SCHEMA)[:-3]))
# Measured on recordings: what every replay reads is decoded in 0.5 (op), 1.3 (slot) and 1.5 ns
# (size) an event; zstd would make those three a fifth smaller and twice as slow.
ENCODING = dict.fromkeys(("op", "slot", "address"), "BYTE_STREAM_SPLIT")
DICTIONARY = [name for name in COLUMNS if name not in ENCODING]
COMPRESSION = {name: "lz4" if name in ("op", "slot", "size") else "zstd" for name in COLUMNS}
ZSTD_LEVEL = {name: 3 for name in COLUMNS if COMPRESSION[name] == "zstd"}
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


def first_line(error: BaseException) -> str:
    """What a library says is wrong, as a part of our sentence: without the stack that it may add,
    and without full stops."""
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    return said.replace(".: ", ": ").rstrip(". ")
