"""The field's reusable allocators: which block answers a request, and where it returns to."""
