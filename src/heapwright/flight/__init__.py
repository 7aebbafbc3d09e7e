"""Real programs on a manager of the registry: the same source, compiled to C's malloc."""
