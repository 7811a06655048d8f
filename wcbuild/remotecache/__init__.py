"""Build caches outside the local store: `--cache-from` and `--cache-to`. docs/formats.md has the format."""
