"""Managers of language runtimes, with their collectors."""
