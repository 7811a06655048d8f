"""Clients and a repository of the simulated registry, for attacks by registries and their neighbours."""

from clients import (  # noqa: F401 - fixtures
    ali,
    at,
    describe,
    new_client,
    repository,
    serve_image,
    store,
)
