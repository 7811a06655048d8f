"""`wcbuild diff`: what is said to be different, and the exit status."""

import io
import tarfile

import pytest
from images import AMD64, Builder

from registry.oci import mediatypes
from registry.oci.config import ContainerConfig
from registry.oci.manifest import Manifest


def member(name: str, content: bytes | None = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    if content is None:
        info.type = tarfile.DIRTYPE
        info.mode = 0o755
    else:
        info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content or b""


def archive(*members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


BASE = archive(
    member("etc", None),
    member("etc/passwd", b"root\n"),
    member("etc/old", b"x"),
    member("bin", None),
    member("bin/sh", b"#!", mode=0o755),
    member("lib", type=tarfile.SYMTYPE, linkname="usr/lib"),
)


@pytest.fixture
def image(layout, place):
    """Put an image with layers and config into the layout; return its place."""
    builder = Builder(layout)

    def make(tag: str, *layers: bytes, **fields) -> str:
        blobs = [builder.blob(layer, mediatypes.OCI_LAYER) for layer in layers]
        config = builder.config([blob.digest for blob in blobs], AMD64, **fields)
        layout.tag(builder.document(Manifest.build(config=config, layers=blobs)), tag)
        return place(tag)

    return make


def test_an_image_is_the_same_as_itself(wcbuild, image, remote, simulator):
    one = image("a", BASE)
    wcbuild("copy", one, remote("a:1"))
    outcome = wcbuild("diff", one, remote("a:1"))
    assert outcome.out == ""
    assert wcbuild("diff", "--format", "json", one, one).json["files"] == []


def test_files_are_told_like_docker_diff_tells_them(wcbuild, image):
    upper = archive(
        member("etc/new", b"1"),
        member("etc/.wh.old"),
        member("etc/passwd", b"root\nali\n", uid=3),
        member("bin/sh", b"#!", mode=0o700),
        member("lib", type=tarfile.SYMTYPE, linkname="lib64"),
        member("srv", None),
        member("srv/x", b""),
    )
    outcome = wcbuild(
        "diff", "--only", "files", image("a", BASE), image("b", BASE, upper), status=1
    )
    assert outcome.out.splitlines() == [
        "C /bin/sh (mode 0755 -> 0700)",
        "A /etc/new",
        "D /etc/old",
        "C /etc/passwd (owner 0:0 -> 3:0, size 5 -> 9, content)",
        "C /lib (target usr/lib -> lib64)",
        "A /srv",
        "A /srv/x",
    ]


def test_the_order_is_that_of_the_tree(wcbuild, image):
    upper = archive(
        member("etc/a/b", b""), member("a", b""), member("z", b""), member("etc/0", b"")
    )
    outcome = wcbuild(
        "diff", "--only", "files", image("a", BASE), image("b", BASE, upper), status=1
    )
    paths = [line.split()[1] for line in outcome.out.splitlines()]
    assert paths == ["/a", "/etc/0", "/etc/a", "/etc/a/b", "/z"]


def test_times_count_only_when_asked(wcbuild, image):
    later = archive(member("etc/passwd", b"root\n", mtime=5))
    one, two = image("a", BASE), image("b", BASE, later)
    assert wcbuild("diff", "--only", "files", one, two).out == ""
    outcome = wcbuild("diff", "--only", "files", "--times", one, two, status=1)
    assert outcome.out == "C /etc/passwd (mtime 0 -> 5)\n"


def test_configs_are_told_field_by_field(wcbuild, image):
    old = ContainerConfig(env=("PATH=/bin", "A=1"), labels={"x": "1"}, cmd=("sh",), user="ali")
    new = ContainerConfig(env=("A=2", "PATH=/bin"), labels={"x": "1", "y": "2"}, cmd=("sh", "-c"))
    one, two = image("a", BASE, config=old), image("b", BASE, config=new)
    assert wcbuild("diff", one, two, status=1).out.splitlines() == [
        'config config.Cmd: ["sh"] -> ["sh","-c"]',
        'config config.Env.A: "1" -> "2"',
        'config config.Labels.y: (none) -> "2"',
        'config config.User: "ali" -> (none)',
    ]
    assert wcbuild("diff", "--only", "files", one, two).out == ""


def test_the_exit_status_is_diffs(wcbuild, image, place):
    one, two = image("a", BASE), image("b", BASE, archive(member("x", b"x")))
    assert wcbuild("diff", "-q", one, two, status=1).out == ""
    assert wcbuild("diff", "-q", one, one, status=0).out == ""
    assert "not found" in wcbuild("diff", one, place("nothing"), status=2).err
    assert "invalid reference" in wcbuild("diff", one, "UPPER/..", status=2).err
    assert "No such file" in wcbuild("diff", one, "oci-archive:nothing.tar", status=2).err


def test_json_has_everything(wcbuild, image, layout):
    upper = archive(member("etc/passwd", b"other"))
    one, two = image("a", BASE), image("b", BASE, upper, author="ali")
    found = wcbuild("diff", "--format", "json", one, two, status=1).json
    assert found["a"] == layout.resolve("a").digest
    assert {"name": "author", "old": None, "new": "ali"} in found["config"]
    (changed,) = found["files"]
    assert (changed["path"], changed["state"]) == ("etc/passwd", "changed")
    assert list(changed["attributes"]) == ["content"]


def test_only_layers_that_are_not_known_are_downloaded(wcbuild, image, remote, simulator, layout):
    one, two = image("a", BASE), image("b", BASE, archive(member("x", b"x")))
    wcbuild("copy", one, remote("a:1"))
    wcbuild("copy", two, remote("a:2"))
    before = len(simulator.requests)
    wcbuild("diff", "--only", "config", remote("a:1"), remote("a:2"), status=1)
    layers = {layer["digest"] for layer in wcbuild("manifest", "get", remote("a:2")).json["layers"]}

    def downloaded() -> list[str]:
        asked = [r.path for r in simulator.requests[before:] if r.method == "GET"]
        return [path for path in asked if any(digest in path for digest in layers)]

    assert downloaded() == []
    wcbuild("diff", remote("a:1"), remote("a:2"), status=1)
    assert len(downloaded()) == 2
    wcbuild("diff", remote("a:1"), remote("a:2"), status=1)
    assert len(downloaded()) == 2
    # What was only looked at is not kept, beyond its headers.
    assert wcbuild("images", "-q").out == ""


def test_indexes_are_compared_for_one_platform(wcbuild, place):
    assert wcbuild("diff", "--platform", "linux/arm64", place("both"), place("two")).out == ""
    assert wcbuild("diff", "--platform", "amd64", place("both"), place("two"), status=1).out
    assert (
        "s390x" in wcbuild("diff", "--platform", "s390x", place("both"), place("two"), status=2).err
    )


def test_names_that_would_act_on_a_terminal_are_spelled(wcbuild, image):
    link = member("link", type=tarfile.SYMTYPE, linkname="to\udcfe")
    evil = archive(
        member("\x1b[31mred\udcff", b""),
        link,
        member("lib", type=tarfile.SYMTYPE, linkname="\udcfd"),
    )
    one, two = image("a", BASE), image("b", BASE, evil, author="\x9b31m")
    out = wcbuild("diff", one, two, status=1).out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "\\xff" in out
    assert "\\xfd" in out
    assert wcbuild("diff", "--format", "json", one, two, status=1).json["files"]


def test_a_layer_that_is_not_the_configs_is_refused(wcbuild, layout, place, image):
    builder = Builder(layout)
    blob = builder.blob(archive(member("x", b"x")), mediatypes.OCI_LAYER)
    other = builder.blob(archive(member("y", b"y")), mediatypes.OCI_LAYER)
    config = builder.config([other.digest], AMD64)
    layout.tag(builder.document(Manifest.build(config=config, layers=[blob])), "lies")
    outcome = wcbuild("diff", image("a", BASE), place("lies"), status=2)
    assert "expected digest" in outcome.err


def test_files_of_windows_are_told_with_their_owners_and_rights(wcbuild, write):
    """In SDDL, as `icacls /save` and Get-Acl show them; names in any case are the same file."""
    context = write("context/a.txt", "x").parent
    for user, name, content in (("User", "b", "1"), ("Administrator", "B", "22")):
        write("context/b.txt", content)
        copies = (
            rf"COPY --chown=Container{user} a.txt C:\\App\\a.txt",
            rf"COPY b.txt C:\\app\\{name}.txt",
        )
        write("context/Dockerfile", "\n".join(("FROM scratch", *copies, "")))
        wcbuild("build", "--platform", "windows/amd64", "-t", f"app:b{content}", context)
    said = wcbuild("diff", "--only", "files", "store:app:b1", "store:app:b22", status=1).out
    lines = [line for line in said.splitlines() if not line.startswith("C /App (")]
    assert len(lines) == 2
    assert lines[0].startswith("C /App/a.txt (MSWINDOWS.sd O:S-1-5-93-2-2")
    assert " -> O:S-1-5-93-2-1" in lines[0]
    assert lines[1] == "C /App/B.txt (size 1 -> 2, content, name b.txt -> B.txt)"
