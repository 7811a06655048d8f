"""The client: repositories by reference, over connections and settings that they share."""

from __future__ import annotations

import functools
import threading
from typing import Self

from registry.errors import UnreachableError
from registry.reference import Reference
from registry.remote.api import PULL, Api, Endpoint
from registry.remote.credentials import Credential, CredentialSource, Secret, registry_name
from registry.remote.errors import MAX_ERROR_BYTES, is_web_page
from registry.remote.mirrored import MirroredRepository, Place
from registry.remote.repository import RemoteRepository
from registry.remote.settings import Settings
from registry.remote.transport import Transport

__all__ = ["Client", "Settings"]

_OK = 200


class Client:
    """Reaches registries; safe to use from several threads. As a context manager it closes itself."""

    def __init__(self, settings: Settings, credentials: CredentialSource) -> None:
        self._credentials = credentials
        self._transport = Transport(settings)
        self._endpoints: dict[str, Endpoint] = {}
        self._repositories: dict[str, RemoteRepository] = {}
        self._lock = threading.Lock()

    def repository(self, reference: Reference) -> RemoteRepository:
        """Return the repository that ``reference`` is in; the same object for the same name.

        Raises:
            UnreachableError: the configuration blocks it.
        """
        rule = self._transport.settings.mirrors.rule_for(reference)
        if rule is not None and rule.blocked:
            reason = f'"{rule.prefix}" is blocked by the configuration'
            raise UnreachableError(reference.name, reason, transient=False)
        return self._repository(reference)

    def source(self, reference: Reference) -> RemoteRepository | MirroredRepository:
        """Return the repository that ``reference`` is in, read through its mirrors if it has any.

        Raises:
            UnreachableError: the configuration blocks it.
            InvalidReferenceError: a mirror's name for it would be none.
        """
        origin = self.repository(reference)
        rule = self._transport.settings.mirrors.rule_for(reference)
        if rule is None or (not rule.mirrors and rule.location in ("", rule.prefix)):
            return origin
        places = [
            Place(
                repository=self._repository(rule.at(mirror.location, reference)),
                tags=mirror.tags,
                digests=mirror.digests,
            )
            for mirror in rule.mirrors
        ]
        moved = rule.location not in ("", rule.prefix)
        last = self._repository(rule.at(rule.location, reference)) if moved else origin
        return MirroredRepository(origin, (*places, Place(repository=last)))

    def _repository(self, reference: Reference) -> RemoteRepository:
        with self._lock:
            repository = self._repositories.get(reference.name)
            if repository is None:
                find = functools.partial(
                    self._credentials.find, reference.registry, reference.repository
                )
                api = Api(self._endpoint(reference.registry), reference.repository, find)
                repository = self._repositories[reference.name] = RemoteRepository(api)
            return repository

    def login(self, registry: str, username: str, password: Secret) -> Credential:
        """Check that ``registry`` accepts ``username`` and ``password``; nothing is remembered.

        Return what is worth remembering: an identity token instead of the password where the registry
        gives one, which it can also take back.

        Raises:
            UnauthorizedError: it does not.
            UnreachableError, ProtocolError
        """
        credential = Credential(username=username, password=password)
        with self._lock:
            endpoint = self._endpoint(registry_name(registry))
        api = Api(endpoint, "", lambda: credential, offline=True)
        what = "the registry"
        response = api.request("GET", api.url(""), actions=PULL, limit=MAX_ERROR_BYTES, what=what)
        if response.status != _OK or is_web_page(response.content):
            raise api.error(response, what)
        if api.identity_token is None:
            return credential
        return Credential(username=username, identity_token=api.identity_token)

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _endpoint(self, registry: str) -> Endpoint:
        if registry not in self._endpoints:
            self._endpoints[registry] = Endpoint(registry, self._transport)
        return self._endpoints[registry]
