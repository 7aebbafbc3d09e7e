"""The engine: replay a trace through a manager, measure, compare."""
