"""What an executor on a Windows machine needs, as far as it can be made and tested without one.

Documents for the host (`spec`), command lines of containerd's `ctr` (`ctr`), and the folder that
Windows exports a container's changes to (`export`, `backup`). None of it has run on Windows;
docs/windows-host.md says how the parts would go together.
"""
