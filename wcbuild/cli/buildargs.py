"""`--build-arg`, and what the environment and docker's settings add to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from registry.files import read_limited
from wcbuild.errors import UsageError

MAX_SETTINGS_BYTES = 4 * 1024 * 1024
"""Of docker's `config.json`."""

_EPOCH = "SOURCE_DATE_EPOCH"
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


def read_build_args(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Read `K=V`; `K` alone takes the value from the environment, and is nothing if it has none.

    Proxies that docker's `config.json` has for builds are given to them, too, and so is an epoch of the
    environment.

    Raises:
        UsageError: an argument has no name, or docker's settings cannot be read.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f'--build-arg "{text}": has no name')
        if equals:
            values[name] = value
        elif name in environment:
            values[name] = environment[name]
    epoch = environment.get(_EPOCH)
    own = {name.lower() for name in values}
    proxies = {k: v for k, v in _proxies(environment).items() if k.lower() not in own}
    return proxies | ({_EPOCH: epoch} if epoch else {}) | values


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies that docker hands to builds, in both spellings.

    Spec: https://docs.docker.com/engine/cli/proxy/
    """
    folder = environment.get("DOCKER_CONFIG") or f"{environment.get('HOME', '')}/.docker"
    path = Path(folder) / "config.json"
    try:
        settings = json.loads(read_limited(path, MAX_SETTINGS_BYTES, str(path)))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON ({error})") from error
    proxies = settings.get("proxies") if isinstance(settings, dict) else None
    default = proxies.get("default") if isinstance(proxies, dict) else None
    if not isinstance(default, dict):
        return {}
    found: dict[str, str] = {}
    for key, name in _PROXIES.items():
        if value := default.get(key):
            found |= {name: str(value), name.lower(): str(value)}
    return found
