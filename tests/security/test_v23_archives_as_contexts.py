"""V23, CVE-2020-10696, CVE-2026-44517: contexts that are archives, whose links and names lead outside."""

import gzip

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry

from wcbuild import BuildRequest, Output, build
from wcbuild.errors import SourceError, UnsafeArchiveError, WcbuildError

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]


@pytest.fixture
def built(tmp_path, canary):
    """Build an archive, and give what is in the image."""

    def run(*parts, **fields):
        outputs = (Output(kind="tar", dest=str(tmp_path / "out.tar")),)
        stdin = gzip.compress(archive(*parts))
        request = BuildRequest(
            context="-", stdin=stdin, root=tmp_path / "store", outputs=outputs, **fields
        )
        try:
            build(request)
        finally:
            canary.check()
        return (tmp_path / "out.tar").read_bytes()

    return run


@pytest.mark.parametrize(
    "link", ["{canary}/f", "../../../../../../../..{canary}/f", "/proc/self/environ"]
)
def test_a_dockerfile_that_is_a_link_is_looked_for_inside(built, canary, link):
    with pytest.raises(SourceError, match="there is no Dockerfile") as caught:
        built(entry("Dockerfile", kind=SYMLINK, link=link.format(canary=canary.path)))
    assert "secret" not in str(caught.value)


def test_folders_that_are_links_are_looked_for_inside(built, canary):
    dockerfile = b"FROM scratch\nCOPY sub/f /f\n"
    parts = [
        entry("Dockerfile", dockerfile),
        entry("sub", kind=SYMLINK, link=str(canary.path)),
    ]
    with pytest.raises(WcbuildError, match="sub/f"):
        built(*parts)
    # Whoever puts a folder of that name into the archive gets that one.
    inside = entry(f"{str(canary.path).lstrip('/')}/f", b"inside")
    assert b"inside" in built(*parts, inside)


def test_an_entry_below_a_link_lands_inside(built, canary):
    parts = [
        entry("Dockerfile", b"FROM scratch\nCOPY . /\n"),
        entry("sub", kind=SYMLINK, link=str(canary.path)),
        entry("sub/f", b"overwritten"),
    ]
    assert b"overwritten" in built(*parts)


@pytest.mark.parametrize(
    "parts",
    [
        (entry("x", kind=HARDLINK, link="etc/passwd"),),
        (entry("d", kind=DIRECTORY), entry("x", kind=HARDLINK, link="d")),
        (entry("x", b"x"), entry("x/y", b"y")),
        (entry("x", b"x"), entry("l", kind=SYMLINK, link="x"), entry("l/y/z", b"y")),
    ],
)
def test_entries_that_have_no_place_are_refused(built, parts):
    with pytest.raises(UnsafeArchiveError):
        built(entry("Dockerfile", b"FROM scratch\nCOPY . /\n"), *parts)


@pytest.mark.parametrize("name", ["../f", "/../f", "a/../../f"])
def test_names_that_lead_out_are_refused(built, name):
    for part in (
        entry(name, b"x"),
        entry("h", kind=HARDLINK, link=name),
        entry(name, kind=DIRECTORY),
    ):
        with pytest.raises(UnsafeArchiveError):
            built(entry("Dockerfile", b"FROM scratch\n"), part)


def test_the_file_that_is_named_stays_inside_as_well(built, canary):
    with pytest.raises(SourceError):
        built(entry("a", b"x"), file=f"../../../../../..{canary.path}/f")
