"""Clients and a repository of the simulated registry, for attacks by registries and their neighbours."""

from clients import ali, at, describe, new_client, repository  # noqa: F401 - fixtures
