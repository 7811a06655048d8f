"""Unpacked trees: prepared, written by a RUN or an unpacked layer, sealed, and named by chain id."""
