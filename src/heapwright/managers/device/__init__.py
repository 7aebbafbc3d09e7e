"""Managers of a device's memory: of a GPU's, over a device machine (`machine/device.py`)."""
