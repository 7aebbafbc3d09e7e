"""A registry of few managers, for tests that replay through every one there is."""

from heapwright.managers import registry


def only(monkeypatch, *names):
    """For the length of a test, the house has these managers alone."""
    chosen = {name: registry.named(name) for name in names}
    monkeypatch.setattr(registry, "_own", lambda: chosen)
