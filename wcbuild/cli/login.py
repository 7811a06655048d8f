"""`wcbuild login`."""

from __future__ import annotations

import argparse
import getpass
import sys

from registry.remote.credentials import Credentials, Secret
from wcbuild.access import open_client
from wcbuild.cli.main import Invocation
from wcbuild.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("host", nargs="?", default="docker.io", metavar="HOST")
    parser.add_argument("-u", "--username", default="", metavar="USER")
    parser.add_argument("-p", "--password", default="", metavar="PASSWORD")
    parser.add_argument("--password-stdin", action="store_true", help="read it from stdin")


def run(invocation: Invocation) -> int:
    """Try the credentials on the registry, and remember them where docker does."""
    args = invocation.args
    if args.password and args.password_stdin:
        raise UsageError("--password and --password-stdin exclude each other")
    username = args.username or _ask("Username: ")
    typed = sys.stdin.read().rstrip("\r\n") if args.password_stdin else args.password
    password = typed or _ask_secret()
    if not username or not password:
        raise UsageError("a user name and a password are needed (-u, --password-stdin)")
    if args.password:
        invocation.stderr.write(
            "a password in the arguments is seen by all; use --password-stdin\n"
        )
    client = open_client(invocation.registries)
    credential = client.login(args.host, username, Secret(password))
    Credentials.from_environment(invocation.environment).save(args.host, credential)
    invocation.stdout.write("Login Succeeded\n")
    return 0


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: give -u and --password-stdin")
    return input(prompt)


def _ask_secret() -> str:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: give --password-stdin")
    return getpass.getpass()
