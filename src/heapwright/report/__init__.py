"""Tables and pages: they see results, never heaps."""
