"""Git URLs: what they name, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcbuild.dockerfile.gitref import GitRef, GitRefError, parse_git_ref


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.example/r.git", {"remote": "https://h.example/r.git"}),
        ("https://h.example/r.git#v1:a/b", {"ref": "v1", "subdir": "a/b"}),
        ("https://h.example/r.git#:docs", {"ref": "", "subdir": "docs"}),
        ("https://h.example/r.git#feat%2Fx:a%20b", {"ref": "feat/x", "subdir": "a b"}),
        ("git@h.example:r#a%2Fb", {"ref": "a%2Fb"}),
        ("ssh://git@h.example:22/r#main", {"remote": "ssh://git@h.example:22/r", "ref": "main"}),
        ("git@h.example:team/r#main", {"remote": "git@h.example:team/r", "ref": "main"}),
        ("deploy-bot@h.example:r", {"remote": "deploy-bot@h.example:r"}),
        ("https://h.example/r.git#v%31:/a//b/", {"ref": "v1", "subdir": "a/b"}),
        ("git://h.example/r", {"remote": "git://h.example/r"}),
        ("github.com/t/r.git#v1", {"remote": "https://github.com/t/r.git", "may_be_path": True}),
        ("https://h.example/r.git?branch=b&subdir=s", {"ref": "refs/heads/b", "subdir": "s"}),
        ("https://h.example/r.git?tag=refs/tags/t", {"ref": "refs/tags/t"}),
        ("https://h.example/r.git?ref=x#x", {"ref": "x"}),
        ("https://h.example/r.git?keep-git-dir&submodules=0", {"submodules": False}),
        ("https://h.example/r.git?keep-git-dir=true", {"keep_git_dir": True}),
        ("https://h.example/r.git?commit=abcdef1", {"checksum": "abcdef1"}),
    ],
)
def test_reads_every_form(text, expected):
    found = parse_git_ref(text)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "dir",
        "./github.com/a/b",
        "user@host",
        "https://h.example/r.git/",
        "https://h.example/f.tar?x=.git",
        "file:///r.git",
        "ext::sh -c x",
        "ftp://h.example/r.git",
        "C:\\r.git",
    ],
)
def test_leaves_alone_what_is_none(text):
    assert parse_git_ref(text) is None


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("ref=a&ref=b", "multiple values"),
        ("ref=", "has no value"),
        ("depth=1", 'unexpected query "depth"'),
        ("ref=a#b", "ref conflicts"),
        ("subdir=a#:b", "subdir conflicts"),
        ("tag=a&branch=b", "branch conflicts with tag"),
        ("ref=a&tag=b", "ref conflicts"),
        ("submodules=perhaps", "invalid submodules value"),
        ("submodules=tRue", "invalid submodules value"),
        ("mtime=now", "invalid mtime value"),
        ("fetch-by-commit=1", "needs a checksum"),
    ],
)
def test_refuses_queries_that_make_no_sense(query, reason):
    with pytest.raises(GitRefError, match=reason):
        parse_git_ref(f"https://h.example/r.git?{query}")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    for start in ("", "https://", "git@", "https://h.example/r.git?", "https://h.example/r.git#"):
        try:
            found = parse_git_ref(start + text)
        except GitRefError:
            continue
        assert found is None or isinstance(found, GitRef)
        if found is not None:
            assert not found.ref.startswith("-")
            assert "\n" not in found.remote
