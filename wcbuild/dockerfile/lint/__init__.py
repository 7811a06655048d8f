"""Checks of a Dockerfile: what builds, but hardly as its author means.

Rules that need the text alone are in `static`; the others hear from lowering what it comes across.
"""

from wcbuild.dockerfile.lint.linter import Linter
from wcbuild.dockerfile.lint.options import CheckOptions, check_options

__all__ = ["CheckOptions", "Linter", "check_options"]
