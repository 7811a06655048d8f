"""How registries are reached: what a caller decides, and the client made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.reference import Reference

if TYPE_CHECKING:
    from registry.remote.client import Client
    from registry.remote.transport import Transport
    from registry.sign import Policy

_MACHINE_POLICY = Path("/etc/containers/policy.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """How registries are reached."""

    insecure: tuple[str, ...] = ()
    """Hosts that may speak plain HTTP or show any certificate."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that say where credentials and proxies are (`DOCKER_CONFIG`, `HOME`, ...)."""
    signature_policy: Path | None = None
    """A containers-policy.json(5) that images have to meet; None is the user's or the machine's, if any."""


def open_client(access: RegistryAccess, *, hurried: bool = False) -> Client:
    """Return a client; made only when a registry is needed, because HTTP takes long to import.

    ``hurried`` it gives up after half a minute at most: for what a build can do without.

    Raises:
        ConfigurationError: a file of settings cannot be used.
    """
    from registry.remote.client import Client, Settings  # noqa: PLC0415 - see above
    from registry.remote.configuration import read_configuration  # noqa: PLC0415
    from registry.remote.credentials import Credentials  # noqa: PLC0415

    configuration = read_configuration(access.environment)
    settings = Settings(
        insecure=configuration.insecure.union(access.insecure),
        environment=access.environment,
        certificate_folders=configuration.certificate_folders,
        mirrors=configuration.mirrors,
    )
    if hurried:
        settings = replace(
            settings,
            attempts=3,
            retry_budget_s=10.0,
            connect_timeout_s=5.0,
            stall_timeout_s=15.0,
        )
    return Client(settings, Credentials.from_environment(access.environment))


def meant_by(access: RegistryAccess, reference: Reference) -> Reference:
    """Return what a reference is an alias of by the settings, or itself.

    Raises:
        ConfigurationError: a file of settings cannot be used.
    """
    from registry.remote.configuration import our_files, read_configuration  # noqa: PLC0415

    if not any(path.exists() for path in our_files(access.environment)):
        return reference
    return read_configuration(access.environment).meant_by(reference)


def open_transport(access: RegistryAccess) -> Transport:
    """Return what fetches files of ADD and contexts; made only when there are any, as `open_client`.

    Certificates of `certs.d` are for registries: others see none of ours, and are believed as browsers do.
    """
    from registry.remote.settings import Settings  # noqa: PLC0415 - see above
    from registry.remote.transport import Transport  # noqa: PLC0415 - see above

    insecure = frozenset(access.insecure)
    return Transport(Settings(insecure=insecure, environment=access.environment, plain=True))


def open_policy(access: RegistryAccess) -> Policy | None:
    """Return the policy that images from elsewhere have to meet; None if there is none.

    The first of: what ``access`` names, the user's own (`~/.config/containers/policy.json`), the machine's
    (`/etc/containers/policy.json`). Those are what podman, buildah and skopeo obey, too.

    Raises:
        InvalidDocumentError, TooLargeError, StoreError, OSError: it cannot be read; nothing is allowed.
    """
    path = access.signature_policy or _usual_policy(access.environment)
    if path is None:
        return None
    from registry.sign.policy import Policy  # noqa: PLC0415 - most machines have no policy

    return Policy.load(path)


def _usual_policy(environment: Mapping[str, str]) -> Path | None:
    home = environment.get("HOME")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    own = [Path(config) / "containers" / "policy.json"] if config else []
    return next((path for path in (*own, _MACHINE_POLICY) if path.exists()), None)
