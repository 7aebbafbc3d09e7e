"""Mallocs that real programs run on."""
