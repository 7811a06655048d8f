"""A registry to develop against: OCI distribution 1.1 from a folder, in threads of this process."""

from registry.server.garbage import Collected, collect
from registry.server.messages import Exchange
from registry.server.service import Registry, ServerSettings, serve
from registry.server.storage import Storage

__all__ = ["Collected", "Exchange", "Registry", "ServerSettings", "Storage", "collect", "serve"]
