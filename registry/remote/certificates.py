"""Whose certificates count, and which we show: docker's and podman's `certs.d` folders.

Layout: `certs.d/HOST[:PORT]/` with `*.crt` (authorities, beside the machine's own) and pairs of
`NAME.cert` and `NAME.key` (what proves who we are, to that host alone).
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import requests.utils
import urllib3.util.ssl_

from registry.errors import ConfigurationError
from registry.remote.settings import Settings, split_port

_ALIASES = {"registry-1.docker.io": "docker.io"}


def tls_context(settings: Settings, host: str) -> ssl.SSLContext:
    """Return what a connection to ``host`` (with its port, if it has one) believes and shows.

    TLS 1.2 or newer. The certificate and name of an insecure host are not checked.

    Raises:
        ConfigurationError: a certificate or key cannot be used.
        OSError: the bundle of authorities cannot be read.
    """
    context = urllib3.util.ssl_.create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    folder = find_folder(settings.certificate_folders, host)
    if settings.is_insecure(host):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = True
        bundle = Path(settings.ca_bundle() or requests.utils.DEFAULT_CA_BUNDLE_PATH)
        if not bundle.exists():
            raise OSError(f"there is no CA certificate bundle {bundle}")
        if bundle.is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(bundle)
    if folder is not None:
        _load(context, folder)
    return context


def find_folder(places: tuple[Path, ...], host: str) -> Path | None:
    """Return the first of `PLACE/HOST[:PORT]` that is there."""
    names = [host, _ALIASES.get(host, host)]
    if not split_port(host)[1]:
        names.append(f"{host}:443")
    found = (place / name for place in places for name in names)
    return next((folder for folder in found if folder.is_dir()), None)


def authority_file(settings: Settings, host: str) -> Path | None:
    """Return where the authority of ``host`` would be believed; None if no folder is looked into."""
    places = settings.certificate_folders
    folder = find_folder(places, host) or (places[0] / host if places else None)
    return folder / "ca.crt" if folder is not None else None


def _load(context: ssl.SSLContext, folder: Path) -> None:
    """Add what a host's folder holds. Raises as `tls_context`."""
    with _errors(folder, "cannot be listed"):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.suffix == ".crt":
            with _errors(path, "is not a certificate in PEM form"):
                context.load_verify_locations(path)
        elif path.suffix == ".cert":
            key = path.with_suffix(".key")
            if key not in paths:
                raise ConfigurationError(str(path), f'its key "{key.name}" is missing')
            with _errors(path, f'with "{key.name}" is no pair in PEM form without a password'):
                context.load_cert_chain(path, key, password="")
        elif path.suffix == ".key" and path.with_suffix(".cert") not in paths:
            missing = path.with_suffix(".cert").name
            raise ConfigurationError(str(path), f'its certificate "{missing}" is missing')


@contextlib.contextmanager
def _errors(path: Path, reason: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise ConfigurationError(str(path), reason) from error
    except OSError as error:
        raise ConfigurationError(str(path), error.strerror or reason) from error
