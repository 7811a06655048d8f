"""What a caller decides about reaching registries, and the questions answered from it."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.remote.mirrors import Mirrors


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How registries are reached; the defaults are for the open internet."""

    insecure: frozenset[str] = frozenset()
    """Hosts (`host`, `host:port`, `*.domain`) that may speak plain HTTP or show any certificate."""
    plain: bool = False
    """All hosts may speak plain HTTP: for files that anybody may see, not for registries."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that say where proxies and certificates are; no others are read."""
    certificate_folders: tuple[Path, ...] = ()
    """Places of docker's `certs.d` layout; the first that has a folder for a host is used."""
    mirrors: Mirrors = field(default_factory=Mirrors)
    """Where else pulls look, and what is blocked."""
    attempts: int = 5
    """Tries of one request, and of a blob between two pieces of progress."""
    retry_wait_s: float = 0.3
    """The first wait between two tries; it doubles."""
    retry_budget_s: float = 180.0
    """No new try starts later than this after the first."""
    connect_timeout_s: float = 15.0
    stall_timeout_s: float = 60.0
    """Silence, or less than `MIN_RATE` bytes a second, for this long counts as a broken connection."""
    commit_timeout_s: float = 600.0
    """How long a registry may think after an upload, while it hashes or moves the blob."""

    def is_insecure(self, host: str) -> bool:
        """Say whether certificates of ``host`` (with or without port) are not checked."""
        name = split_port(host)[0]
        if host in self.insecure or name in self.insecure:
            return True
        return any(place[:2] == "*." and name.endswith(place[1:]) for place in self.insecure)

    def may_be_plain(self, host: str) -> bool:
        """Say whether ``host`` may be spoken to without TLS."""
        return self.plain or is_loopback(host) or self.is_insecure(host)

    def ca_bundle(self) -> str:
        """Return the file or folder of trusted authorities; empty means the one `requests` brings."""
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            if path := self.environment.get(name):
                return path
        # The machine's own, as other container tools do: that is where a company's authority is.
        paths = ssl.get_default_verify_paths()
        if os.path.isfile(paths.openssl_cafile):
            return paths.openssl_cafile
        if os.path.isdir(paths.openssl_capath) and os.listdir(paths.openssl_capath):
            return paths.openssl_capath
        return ""

    def proxies(self, scheme: str, host: str) -> dict[str, str]:
        """Return the proxy for ``host`` as `requests` wants it; empty for none."""
        proxy = self._variable(f"{scheme}_proxy")
        if not proxy or is_loopback(host) or bypasses_proxy(host, self._variable("no_proxy")):
            return {}
        return {scheme: proxy if "://" in proxy else f"http://{proxy}"}

    def _variable(self, name: str) -> str:
        # A CGI program's HTTP_PROXY comes from a request's `Proxy:` header.
        if name == "http_proxy" and "REQUEST_METHOD" in self.environment:
            return self.environment.get(name, "")
        return self.environment.get(name) or self.environment.get(name.upper(), "")


def split_port(host: str) -> tuple[str, str]:
    """Split `host:port`, `[::1]:port` or a bare host; the port may be empty."""
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return address, port.removeprefix(":")
    name, _, port = host.partition(":")
    return (host, "") if ":" in port else (name, port)


def is_loopback(host: str) -> bool:
    """Say whether ``host`` (with or without port) is `localhost` or an address of this machine."""
    name, _ = split_port(host)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_link_local(host: str) -> bool:
    """Say whether ``host`` is an address like 169.254.169.254, where clouds keep their secrets."""
    try:
        return ipaddress.ip_address(split_port(host)[0]).is_link_local
    except ValueError:
        return False


def bypasses_proxy(host: str, no_proxy: str) -> bool:
    """Apply the usual meaning of `NO_PROXY`: names and their subdomains, addresses, CIDR, ports, `*`."""
    name, port = split_port(host.lower())
    for entry in no_proxy.lower().split(","):
        pattern = entry.strip()
        if pattern == "*":
            return True
        if "/" in pattern:
            if _in_network(name, pattern):
                return True
            continue
        wanted, wanted_port = split_port(pattern)
        wanted = wanted.removeprefix("*").removeprefix(".")
        if wanted and wanted_port in ("", port) and (name == wanted or name.endswith(f".{wanted}")):
            return True
    return False


def _in_network(name: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
