"""V36: ways to reach what `.dockerignore` keeps out."""

import pytest

from wcbuild.context.local import LocalTree
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.graph.ops import CopyOp
from wcbuild.tree import place
from wcbuild.tree.errors import MissingSourceError
from wcbuild.tree.layers import EmptyTree

RULES = [
    b"secret\nSecret\n*/key\n",
    b"\xef\xbb\xbfsecret\r\nSecret\r\n*/key\r\n",
    b"/secret/\n./Secret\n\n# a comment\n**/key\n",
    b"!secret\nsecret\n!other\nSecret\n*/key\n",
    b"s*t\nS*\nopen/[k]ey\nsecret/../secret\n",
]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "context"
    for folder in ("secret", "Secret", "open"):
        (root / folder).mkdir(parents=True)
        (root / folder / "key").write_text("hush")
    (root / "open/plain").write_text("plain")
    (root / "way").symlink_to("secret")
    (root / "open/up").symlink_to("../secret/key")
    (root / "open/all").symlink_to(str(root))
    return root


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    "source",
    [
        "secret/key",
        "secret",
        "Secret/key",
        "open/key",
        "way/key",
        "way",
        "open/up",
        "open/../secret/key",
        "secret/./key",
        "s[e]cret/key",
        "*/key",
        "*",
        "",
    ],
)
def test_nothing_leads_to_what_is_excluded(root, rules, source):
    tree = LocalTree(root, IgnoreRules.parse(rules))
    op = CopyOp(sources=(source,), dest="/to/")
    try:
        changes = place.copy(op, EmptyTree(), tree, mtime=0)
    except MissingSourceError:
        return
    names = {change.path for change in changes if change.content is not None}
    assert names <= {"to/plain", "to/open/plain"}
    key = place.content_key(op, tree)
    (root / "secret/key").write_text("other")
    again = LocalTree(root, IgnoreRules.parse(rules))
    assert place.content_key(op, again) == key, "it was part of what decides the result"
