"""Sandboxes of every identity that this machine allows."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("sandbox_suite")
