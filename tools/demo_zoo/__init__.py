"""Procedural data sets, networks, training loops and exporters of the demo zoo."""
