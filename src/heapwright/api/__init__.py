"""What `import heapwright as hw` offers: a program's way to everything that a command does.

    traces      open, record, info
    selection   which managers are compared, at which settings and heap sizes
    advising    advise: what a program can be given so that it holds less
    comparing   compare: one trace or several through managers and real systems
    replaying   replay, validate
    flying      build, fly
    frames      results as Arrow tables and pandas frames
    notebook    results as HTML, for a notebook's cell

`heapwright/__init__.py` names these lazily; the command line shows what they return.
"""
