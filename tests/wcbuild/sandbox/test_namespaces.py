"""Namespaces pass the suite of sandboxes, as every identity."""

from sandbox_suite import *  # noqa: F403
