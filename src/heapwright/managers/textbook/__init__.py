"""Managers as textbooks describe them: they explain, and are compared with."""
