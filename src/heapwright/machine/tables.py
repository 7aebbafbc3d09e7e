"""Tables that a manager keeps outside the machine and that grow as it does.

In the tunnel such a table is reserved whole and costs what is written. In flight its address space
is mapped part by part: where that is limited, or all memory is locked, a table is no larger than
the heap needs.
"""

from heapwright.compiler import kernel
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address
from heapwright.machine.linux import take


@kernel(cold=True)
def extend_table(table, have_bytes, past_bytes):
    """Make the table usable up to `past_bytes`, whole pages of Linux; whether there was room."""
    return not AHEAD or take(real_address(table) + have_bytes, past_bytes - have_bytes)
