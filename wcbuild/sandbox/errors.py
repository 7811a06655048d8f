"""What goes wrong on the launcher's side, before it travels to the main process as a `SandboxError`."""

from __future__ import annotations


class SetupError(Exception):
    """``operation`` failed for ``reason``; ``hint`` says what may help."""

    def __init__(self, operation: str, reason: str, hint: str = "") -> None:
        super().__init__(operation, reason, hint)
        self.operation = operation
        self.reason = reason
        self.hint = hint
