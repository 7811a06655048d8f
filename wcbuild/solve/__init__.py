"""Solving a graph: keys, cache, execution, events."""
