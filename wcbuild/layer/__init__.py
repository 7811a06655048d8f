"""Layers as sets of file changes: reading and writing them as tar, and putting them on a file system."""
