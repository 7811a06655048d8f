"""Files of git repositories, fetched with the `git` command.

Nothing is ever checked out: `git archive` writes the files of a commit as a tar, which is read as
any other. So no hook, filter or attribute of a repository acts here, and no symlink of it is
followed. Git sees no configuration but ours, asks nobody anything, and speaks four protocols.
"""

from wcbuild.context.git.checkout import Checkout
from wcbuild.context.git.repositories import HALF_WRITTEN, Repositories

__all__ = ["HALF_WRITTEN", "Checkout", "Repositories"]
