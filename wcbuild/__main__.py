"""`python -m wcbuild` is `wcbuild`."""

from wcbuild.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
