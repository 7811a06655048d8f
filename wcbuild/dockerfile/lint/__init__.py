"""Checks of a Dockerfile: what builds, but hardly as its author means.

Rules that need the text alone are in `static`; the others hear from lowering what it comes across.
"""

from wcbuild.dockerfile.lint.check import CheckResult, check, check_unreadable, lower_and_check

__all__ = ["CheckResult", "check", "check_unreadable", "lower_and_check"]
