"""Leave heapwright's own asserts as they are; `conftest` imports this before anything of it.

pytest rewrites the asserts of a whole package that brings a plugin for it, as ours does, in every
worker: five hundred modules, half of the time that collecting took. The tests' own it still does.
"""

import sys

for _finder in sys.meta_path:
    getattr(_finder, "_must_rewrite", set()).discard("heapwright")
