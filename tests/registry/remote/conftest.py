"""Clients for tests, impatient ones, and the registry of Debian's package."""

from clients import (  # noqa: F401 - fixtures
    ali,
    at,
    crane_registry,
    describe,
    new_client,
    new_docker_registry,
    own_registry,
    repository,
    serve_image,
    store,
)
