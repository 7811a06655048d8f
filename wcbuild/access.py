"""How registries are reached: what a caller decides, and the client made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.remote.client import Client
    from registry.remote.transport import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """How registries are reached."""

    insecure: tuple[str, ...] = ()
    """Hosts that may speak plain HTTP or show any certificate."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that say where credentials and proxies are (`DOCKER_CONFIG`, `HOME`, ...)."""


def open_client(access: RegistryAccess) -> Client:
    """Return a client; made only when a registry is needed, because HTTP takes long to import.

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
    return Client(settings, Credentials.from_environment(access.environment))


def open_transport(access: RegistryAccess) -> Transport:
    """Return what fetches files of ADD and contexts; made only when there are any, as `open_client`."""
    from registry.remote.settings import Settings  # noqa: PLC0415 - see above
    from registry.remote.transport import Transport  # noqa: PLC0415 - see above

    insecure = frozenset(access.insecure)
    return Transport(Settings(insecure=insecure, environment=access.environment, plain=True))
