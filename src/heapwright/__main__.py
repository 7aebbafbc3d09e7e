"""`python -m heapwright` is the console script."""

from heapwright.cli import main

main()
