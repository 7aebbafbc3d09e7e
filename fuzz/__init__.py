"""Hostile recordings for the importers; `make fuzz` runs them."""
