"""Which signed names count for which image; `test_peers` holds this against skopeo."""

import pytest

from registry.reference import Reference
from registry.sign import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)

DIGEST = "sha256:" + "b" * 64
TAGGED, PINNED = "r.example/app:1", f"r.example/app@{DIGEST}"


@pytest.mark.parametrize(
    ("identity", "signed", "asked", "accepted"),
    [
        (MatchExact(), TAGGED, TAGGED, True),
        (MatchExact(), "r.example/app:2", TAGGED, False),
        (MatchExact(), "r.example/app", TAGGED, False),
        (MatchExact(), "r.example/app", "r.example/app", False),
        (MatchExact(), TAGGED, PINNED, False),
        (MatchExact(), PINNED, PINNED, True),
        (MatchExact(), TAGGED, None, False),
        (MatchRepoDigestOrExact(), TAGGED, TAGGED, True),
        (MatchRepoDigestOrExact(), "r.example/app:2", TAGGED, False),
        (MatchRepoDigestOrExact(), "r.example/app:2", PINNED, True),
        (MatchRepoDigestOrExact(), "r.example/app", PINNED, False),
        (MatchRepoDigestOrExact(), "r.example/other:1", PINNED, False),
        (MatchRepoDigestOrExact(), TAGGED, "r.example/app", False),
        (MatchRepoDigestOrExact(), TAGGED, None, False),
        (MatchRepository(), "r.example/app", TAGGED, True),
        (MatchRepository(), "r.example/app:2", TAGGED, True),
        (MatchRepository(), "r.example/app/sub", TAGGED, False),
        (MatchRepository(), "other.example/app", TAGGED, False),
        (MatchRepository(), "r.example/app", None, False),
        (MatchRepository(), "index.docker.io/library/debian", "debian:12", True),
        (ExactReference(reference=Reference.parse(TAGGED)), TAGGED, "mirror.example/x:9", True),
        (ExactReference(reference=Reference.parse(TAGGED)), TAGGED, None, True),
        (ExactReference(reference=Reference.parse(TAGGED)), "r.example/app", TAGGED, False),
        (ExactRepository(name="r.example/app"), "r.example/app:7", "mirror.example/x:9", True),
        (ExactRepository(name="r.example/app"), "r.example/apps:7", TAGGED, False),
    ],
)
def test_accepts_only_names_that_count(identity, signed, asked, accepted):
    image = Reference.parse(asked) if asked else None
    assert identity.accepts(Reference.parse(signed), image) is accepted


@pytest.mark.parametrize(
    ("prefix", "signed", "asked", "accepted"),
    [
        ("mirror.example", "vendor.example/team/app:1", "mirror.example/team/app:1", True),
        ("mirror.example/team", "vendor.example/app:1", "mirror.example/team/app:1", True),
        ("mirror.example/team/app", "vendor.example:1", "mirror.example/team/app:1", False),
        ("mirror.example/team", "vendor.example/app:1", "mirror.example/teams/app:1", False),
        ("mirror.example/team", "mirror.example/teams/app:1", "mirror.example/teams/app:1", True),
        ("mirror.example/team", "mirror.example/team/app:1", "mirror.example/team/app:1", False),
        ("mirror.example", "mirror.example:5000/x:1", "mirror.example:5000/x:1", True),
        ("mirror.example", "vendor.example/app:1", f"mirror.example/app@{DIGEST}", True),
    ],
)
def test_remaps_whole_components_of_a_prefix(prefix, signed, asked, accepted):
    identity = RemapIdentity(prefix=prefix, signed_prefix="vendor.example")
    assert identity.accepts(Reference.parse(signed), Reference.parse(asked)) is accepted
