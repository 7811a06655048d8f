"""What can go wrong with keys, signatures and policies; all are errors of the registry's family.

RegistryError
 |- KeyFileError(name, reason)         a key that cannot be used
 |    |- WrongPasswordError            ... because the password is another
 |- NotSignedError(what)               there is nothing to verify
 |- SignatureError(what, reason)       what there is does not verify
 |- PolicyError(what, policy, reason)  a policy does not allow the image
"""

from __future__ import annotations

from registry.errors import RegistryError


class KeyFileError(RegistryError):
    """A key that is damaged, of the wrong kind, or too weak. The message never holds key material."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f'key "{self.name}": {self.reason}'


class WrongPasswordError(KeyFileError):
    """The password does not open the key."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "the password is wrong, or the file is damaged")
        self.args = (name,)  # what it is made from again after it crossed a process


class NotSignedError(RegistryError):
    """``what`` has no signature (or no attestation) at all."""

    def __init__(self, what: str, kind: str = "signature") -> None:
        super().__init__(what, kind)
        self.what = what
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.what}: has no {self.kind}"


class SignatureError(RegistryError):
    """None of the signatures of ``what`` is one that was asked for."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class PolicyError(RegistryError):
    """A policy does not allow an image; nothing of it was stored."""

    def __init__(self, what: str, policy: str, reason: str) -> None:
        super().__init__(what, policy, reason)
        self.what = what
        self.policy = policy
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: refused by the policy {self.policy}: {self.reason}"
