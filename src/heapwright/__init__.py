"""A wind tunnel for memory managers.

Record what a program allocates once, fly the recording through every manager, see where each
resident byte goes. `docs/architecture.md` draws the house; `heapwright --help` lists the commands.
"""

__version__ = "0.1.0"
