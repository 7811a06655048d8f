"""Windows commands on Linux: Wine in a sandbox, over the tree of a Windows image. See docs/wine.md."""
