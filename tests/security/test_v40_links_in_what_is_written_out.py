"""V40, GHSA-g2h8-426c-7976: an image whose links lead out of the folder that it is written to."""

import pytest
from rawtar import SYMLINK, archive, entry

from wcbuild import BuildRequest, Output, build

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]


def test_files_below_a_link_do_not_land_where_it_leads(tmp_path, canary):
    parts = [
        entry(
            "Dockerfile",
            b"FROM scratch\nCOPY links /\nCOPY f /out/f\nCOPY f /up/f\nADD more.tar /\n",
        ),
        entry("links/out", kind=SYMLINK, link=str(canary.path)),
        entry("links/up", kind=SYMLINK, link="../../../../../../canary"),
        entry("f", b"overwritten"),
        entry("more.tar", archive(entry("out/g", b"overwritten"))),
    ]
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "out").symlink_to(canary.path)
    build(
        BuildRequest(
            context="-",
            stdin=archive(*parts),
            root=tmp_path / "store",
            outputs=(Output(kind="local", dest=str(dest)),),
        )
    )
    canary.check()
    # Inside the image the links lead to folders of the image.
    inside = dest / str(canary.path).lstrip("/")
    assert (inside / "f").read_bytes() == b"overwritten"
    assert (inside / "g").read_bytes() == b"overwritten"
