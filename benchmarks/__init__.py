"""Speed and size, measured on real recordings; ratios and medians, never part of the tests."""
