import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidReferenceError
from registry.oci.digest import Digest, sha256
from registry.reference import Reference

DIGEST = sha256(b"x")
COMPONENT = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
REFERENCES = st.builds(
    Reference,
    registry=st.sampled_from(
        [
            "docker.io",
            "ghcr.io",
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "a.b-c.example",
        ]
    ),
    repository=st.lists(COMPONENT, min_size=2, max_size=4).map("/".join),
    tag=st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)),
    digest=st.one_of(st.none(), st.just(DIGEST)),
)


@given(REFERENCES)
def test_parsing_is_the_inverse_of_printing(reference):
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(st.sampled_from("abAB01.:/@_-[]é \n"), max_size=30))
def test_any_text_is_read_as_itself_or_refused(text):
    with contextlib.suppress(InvalidReferenceError):
        reference = Reference.parse(text)
        assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian", "debian"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("team/app", "docker.io/team/app", "team/app"),
        ("docker.io/debian", "docker.io/library/debian", "debian"),
        ("index.docker.io/library/debian", "docker.io/library/debian", "debian"),
        ("localhost/app:1", "localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app", "localhost:5000/app", "localhost:5000/app"),
        ("ghcr.io/a/b:c", "ghcr.io/a/b:c", "ghcr.io/a/b:c"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"a.b/c:d@{DIGEST}", f"a.b/c:d@{DIGEST}", f"a.b/c:d@{DIGEST}"),
    ],
)
def test_spells_as_docker_does(text, canonical, familiar):
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "a:",
        "a:b:c",
        "a//b",
        "/a",
        "a/",
        "a:.x",
        "a:" + "t" * 129,
        "Debian",
        "a/B",
        "a@",
        "a@sha256:x",
        f"a@{DIGEST.upper()}",
        "../../etc:x",
        "a/../b",
        "a b",
        "a\n",
        "http://a.b/c",
        "a.b/" + "c" * 255,
        "a-/b",
        "user@host/app",
    ],
)
def test_refuses_what_no_registry_could_hold(text):
    with pytest.raises(InvalidReferenceError):
        Reference.parse(text)


def test_default_tag_is_added_only_where_nothing_is_said():
    assert Reference.parse("a").with_default_tag().tag == "latest"
    assert Reference.parse("a:1").with_default_tag().tag == "1"
    assert not Reference.parse(f"a@{DIGEST}").with_default_tag().tag
    assert Reference.parse(f"a@{DIGEST}").digest == Digest(DIGEST)


@pytest.mark.parametrize("text", ["https://a.example/app:1", "docker://a.example/app", "http://x"])
def test_a_scheme_is_refused_with_what_to_write_instead(text):
    bare = text.partition("://")[2]
    with pytest.raises(InvalidReferenceError, match=f'begins with a scheme.*has none: "{bare}"'):
        Reference.parse(text)
