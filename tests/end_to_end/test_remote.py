"""Builds of and with what has to be fetched: ADD from HTTP and git, and contexts of every kind."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import signal
import subprocess
import tarfile

import pytest
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from processes import processes_in, until
from web import COMMIT_TIME

from wcbuild import BuildRequest, Output, build

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]

DATE, MOMENT = "Sun, 02 Feb 2020 02:02:02 GMT", 1580608922
COMPRESSIONS = {
    "tar": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
FROM = "FROM scratch\n"


def tar(files, **fields):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            for key, value in ({"mtime": 1000} | fields).items():
                setattr(member, key, value)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


class Image:
    """What a build left: tar members and contents by path, and what was printed."""

    def __init__(self, path, done):
        self.done = done
        self.members, self.contents = {}, {}
        with tarfile.open(path) as archive:
            for member in archive:
                self.members[member.name] = member
                if member.isreg():
                    self.contents[member.name] = (
                        archive.extractfile(member).read().decode("utf-8", "replace")
                    )


@pytest.fixture
def image_of(wcbuild, tmp_path):
    """Build, and give what the image holds."""

    def run(context, *flags, **options):
        out = tmp_path / "files.tar"
        words = ("--progress", "plain", "-t", "built", "-o", f"type=tar,dest={out}", *flags)
        return Image(out, wcbuild("build", *words, context, **options))

    return run


@pytest.fixture
def refused(wcbuild):
    """Build what cannot be built, and give what was said of it."""

    def run(context, *flags, **options):
        done = wcbuild("build", "--progress", "plain", *flags, context, check=False, **options)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert wcbuild("images", "-q").stdout == ""
        return done.stderr

    return run


@pytest.fixture
def git(repositories, new_git_server):
    """Serve a repository with a submodule; give its URL and itself."""
    _, make = repositories
    library, app = make("lib"), make("app")
    commit = library.commit({"lib.txt": "lib"})
    app.commit(
        {
            "Dockerfile": "FROM scratch\nCOPY . /all/\n",
            "other": "FROM scratch\nCOPY a.txt /other\n",
            "a.txt": "a",
            "sub/b.txt": "b",
            "sub/Dockerfile": "FROM scratch\nCOPY b.txt /\n",
            ".dockerignore": "a.txt\n",
        }
    )
    app.add_submodule("vendor", "../lib.git", commit)
    app.tag("v1", annotated=True)
    return f"{new_git_server().url}/git/app.git", app


# -- ADD from HTTP


def test_add_gives_a_file_its_name_mode_and_time(web, context, image_of):
    web.put("/dir/f.txt?x=1", b"text", headers={"Last-Modified": DATE})
    made = image_of(context(f"{FROM}ADD {web.url}/dir/f.txt?x=1 /to/\n"))
    member = made.members["to/f.txt"]
    assert (member.mode, member.uid, member.gid, member.mtime) == (0o600, 0, 0, MOMENT)
    assert made.contents["to/f.txt"] == "text"


def test_add_takes_owner_mode_and_name_from_the_instruction(web, context, image_of):
    web.put("/f", b"text")
    made = image_of(context(f"{FROM}ADD --chown=7:8 --chmod=755 {web.url}/f /name\n"))
    member = made.members["name"]
    assert (member.mode, member.uid, member.gid, member.mtime) == (0o755, 7, 8, 0)


def test_a_second_build_asks_whether_the_file_has_changed_and_copies_nothing(
    web, context, image_of
):
    url = web.put("/f", b"text", headers={"ETag": '"one"'})
    folder = context(f"{FROM}ADD {url} /f\n")
    first = image_of(folder)
    second = image_of(folder)
    assert [each.status for each in web.asked] == [200, 304]
    assert "[1/1] ADD" in first.done.stderr
    assert second.done.stderr.count("CACHED") == 2
    web.put("/f", b"news", headers={"ETag": '"two"'})
    assert image_of(folder).contents["f"] == "news"


def test_add_of_the_same_content_from_elsewhere_is_known(web, context, image_of):
    for path in ("/a/f", "/b/f"):
        done = image_of(context(f"{FROM}ADD {web.put(path, b'text')} /f\n")).done
    assert done.stderr.count("CACHED") == 2


def test_add_unpacks_what_it_fetches_only_if_it_is_told_to(web, context, image_of):
    dockerfile = FROM
    for name, compress in COMPRESSIONS.items():
        url = web.put(f"/{name}", compress(tar({f"d/{name}": "in"}, uid=5, gid=6)))
        dockerfile += f"ADD {url} /plain/\nADD --unpack=true {url} /to\n"
    made = image_of(context(dockerfile))
    for name in COMPRESSIONS:
        assert made.contents[f"to/d/{name}"] == "in"
        assert (made.members[f"to/d/{name}"].uid, made.members[f"to/d/{name}"].gid) == (5, 6)
        assert made.members[f"plain/{name}"].isreg()


def test_add_unpacks_local_archives_unless_it_is_told_not_to(context, image_of):
    folder = context(f"{FROM}ADD a/ /folder/\nADD a/* /to\nADD --unpack=false a/* /plain/\n")
    (folder / "a").mkdir()
    for name, compress in COMPRESSIONS.items():
        (folder / "a" / name).write_bytes(compress(tar({f"d/{name}": "in"})))
    made = image_of(folder)
    for name in COMPRESSIONS:
        assert made.contents[f"to/d/{name}"] == "in"
        assert made.members[f"plain/{name}"].isreg()
        assert made.members[f"folder/{name}"].isreg()


def test_a_checksum_is_verified_and_saves_asking(web, context, image_of, refused, wcbuild):
    url = web.put("/f", b"text")
    wrong = "sha256:" + "0" * 64
    said = refused(context(f"{FROM}ADD --checksum={wrong} {url} /f\n"))
    assert "Dockerfile:2: " in said
    assert f"expected checksum {wrong}, received sha256:" in said
    right = f"sha256:{hashlib.sha256(b'text').hexdigest()}"
    folder = context(f"{FROM}ADD --checksum={right} {url} /f\n")
    image_of(folder)
    asked = len(web.asked)
    assert image_of(folder).contents["f"] == "text"
    assert len(web.asked) == asked


def test_a_file_that_is_not_there_is_an_error_at_its_line(web, context, refused):
    said = refused(context(f"{FROM}ADD {web.url}/missing /f\n"))
    assert f'Dockerfile:2: fetch "{web.url}/missing": {web.host} answered 404' in said
    assert "2 | ADD" in said


def test_a_secret_speaks_for_the_user_and_is_seen_nowhere(
    web, context, image_of, tmp_path, wcbuild
):
    url = web.put("/f", b"text")
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-t0ken")
    flags = ("--secret", f"id=HTTP_AUTH_TOKEN_{web.host},src={secret}")
    made = image_of(context(f"{FROM}ADD {url} /f\nADD http://me:hu-sh@{web.host}/f /g\n"), *flags)
    assert web.asked[0].headers["authorization"] == "Bearer s3cr3t-t0ken"
    history = wcbuild("history", "built", "--no-trunc").stdout
    assert "xxxxx:xxxxx@" in history
    written = b"".join(path.read_bytes() for path in wcbuild.root.rglob("*") if path.is_file())
    for text in (made.done.stderr, history, written.decode("latin-1")):
        assert "s3cr3t-t0ken" not in text
        assert "hu-sh" not in text


def test_sources_of_several_kinds_are_copied_in_their_order(web, git, context, image_of):
    url, _ = git
    web.put("/a.txt", b"web")
    web.put("/x", b"last")
    dockerfile = f"{FROM}ADD a.txt {web.url}/a.txt {url}#v1 x {web.url}/x /to/\n"
    folder = context(dockerfile, {"a.txt": "local", "x": "first"})
    made = image_of(folder)
    assert made.contents["to/a.txt"] == "a"
    assert made.contents["to/x"] == "last"
    assert image_of(folder).done.stderr.count("CACHED") >= 3
    (folder / "x").write_text("changed")
    again = image_of(folder)
    assert again.contents["to/x"] == "last"


# -- ADD from git


def test_add_copies_a_repository_with_its_submodules_and_without_its_git_folder(
    git, context, image_of
):
    url, _ = git
    made = image_of(context(f"{FROM}ADD {url}#v1 /src\n"))
    assert made.contents["src/a.txt"] == "a"
    assert made.contents["src/vendor/lib.txt"] == "lib"
    assert not any(".git/" in path for path in made.members)
    assert {member.mtime for member in made.members.values()} == {COMMIT_TIME}
    assert {member.uid for member in made.members.values()} == {0}
    without = image_of(context(f"{FROM}ADD {url}?submodules=false /src\n"))
    assert "src/vendor/lib.txt" not in without.members


def test_add_takes_a_folder_of_a_ref(git, context, image_of):
    url, app = git
    app.commit({"sub/b.txt": "new"})
    made = image_of(context(f"{FROM}ADD {url}#v1:sub /old/\nADD {url}?subdir=sub /new/\n"))
    assert made.contents["old/b.txt"] == "b"
    assert made.contents["new/b.txt"] == "new"


def test_add_keeps_the_git_folder_if_it_is_told_to(git, context, image_of):
    url, app = git
    made = image_of(context(f"{FROM}ADD --keep-git-dir=true {url} /src\n"))
    assert made.contents["src/.git/HEAD"].strip() == app.git("rev-parse", "HEAD")


def test_a_second_build_asks_only_which_commit_it_is(git, context, image_of):
    url, app = git
    folder = context(f"{FROM}ADD --keep-git-dir {url} /src\nADD {url} /again\n")
    image_of(folder)
    assert image_of(folder).done.stderr.count("CACHED") == 3
    app.commit({"a.txt": "new"})
    assert image_of(folder).contents["src/a.txt"] == "new"


def test_a_commit_that_is_not_the_expected_one_is_refused(git, context, image_of, refused):
    url, app = git
    commit = app.git("rev-parse", "HEAD")
    said = refused(context(f"{FROM}ADD --checksum={'0' * 40} {url} /src\n"))
    assert f"expected checksum {'0' * 40}, received {commit}" in said
    made = image_of(context(f"{FROM}ADD --checksum={commit} {url} /src\n"))
    assert made.contents["src/a.txt"] == "a"


def test_a_ref_that_is_not_there_is_an_error_at_its_line(git, context, refused):
    said = refused(context(f"{FROM}ADD {git[0]}#nothing /src\n"))
    assert "Dockerfile:2: " in said
    assert 'there is no ref "nothing"' in said


# -- main contexts


def test_a_context_may_be_a_repository(git, image_of):
    url, _ = git
    made = image_of(url)
    # What was fetched is here already: .dockerignore is for folders of this machine.
    assert made.contents["all/a.txt"] == "a"
    assert made.contents["all/vendor/lib.txt"] == "lib"
    assert not any(".git/" in path for path in made.members)
    assert list(image_of(f"{url}#v1:sub").contents) == ["b.txt"]
    assert list(image_of(url, "-f", "other").contents) == ["other"]


def test_a_context_keeps_its_git_folder_if_it_is_told_to(git, image_of):
    made = image_of(git[0], "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1")
    assert "all/.git/HEAD" in made.contents


@pytest.mark.parametrize("compression", ["tar", "zstd"])
def test_a_context_may_be_an_archive_on_the_web(web, image_of, compression):
    data = tar({"./Dockerfile": f"{FROM}COPY a /\n", "./a": "A", ".dockerignore": "a"})
    url = web.put("/ctx", COMPRESSIONS[compression](data))
    assert image_of(url).contents == {"a": "A"}


@pytest.mark.parametrize("compression", ["tar", "zstd"])
def test_a_context_may_be_an_archive_on_standard_input(image_of, tmp_path, compression):
    files = {"Dockerfile": f"{FROM}COPY . /\n", "a": "A", "x/D": f"{FROM}COPY a /b\n"}
    (tmp_path / "in").write_bytes(COMPRESSIONS[compression](tar(files, uid=5, gid=6)))
    with open(tmp_path / "in") as stdin:
        made = image_of("-", stdin=stdin)
    # Its owners are the files', as BuildKit has it.
    assert (made.members["a"].uid, made.members["a"].gid) == (5, 6)
    with open(tmp_path / "in") as stdin:
        assert list(image_of("-", "-f", "x/D", stdin=stdin).contents) == ["b"]


def test_a_context_may_be_a_dockerfile_alone(web, image_of, refused):
    dockerfile = f"{FROM}COPY <<f /f\ntext\nf\n"
    assert image_of(web.put("/any", dockerfile.encode())).contents == {"f": "text\n"}
    assert image_of("-", input=dockerfile).contents == {"f": "text\n"}


def test_a_dockerfile_may_come_from_standard_input(git, context, image_of):
    folder = context("FROM nothing\n", {"a": "A", "b": "B", ".dockerignore": "b"})
    made = image_of(folder, "-f", "-", input=f"{FROM}COPY . /\n")
    assert set(made.contents) == {"a", "Dockerfile", ".dockerignore"}
    made = image_of(git[0], "-f", "-", input=f"{FROM}COPY a.txt /x\n")
    assert made.contents == {"x": "a"}


def test_a_dockerfile_may_come_from_the_web(git, web, context, image_of, refused):
    url = web.put("/df", f"{FROM}COPY a* /\n".encode())
    folder = context("FROM nothing\n", {"a": "A", "a.txt": "text", ".dockerignore": "a.txt\n"})
    said = refused(folder, "-f", web.put("/wrong", f"{FROM}COPIE a /\n".encode()))
    assert f"{web.url}/wrong:2: " in said
    assert "  2 | COPIE a /\n" in said
    assert image_of(folder, "-f", url).contents == {"a": "A"}
    assert image_of(git[0], "-f", url).contents == {"a.txt": "a"}


def test_a_dockerfile_has_an_ignore_file_of_its_own(context, image_of):
    files = {
        "a": "A",
        "b": "B",
        "docker/app.Dockerfile": f"{FROM}COPY a* b* /\n",
        "docker/app.Dockerfile.dockerignore": "a\n",
        ".dockerignore": "b\n",
    }
    folder = context("FROM nothing\n", files)
    assert list(image_of(folder, "-f", folder / "docker/app.Dockerfile").contents) == ["b"]


def test_only_one_thing_can_come_from_standard_input(refused):
    assert "cannot both come from standard input" in refused("-", "-f", "-", input=FROM)
    assert "give one of them" in refused("-", "-f", "x", input=FROM)


def test_a_context_without_a_dockerfile_is_an_error(web, refused, tmp_path):
    url = web.put("/ctx", tar({"Dockerfil": FROM}))
    said = refused(url)
    assert f'there is no Dockerfile "Dockerfile" in the context from {url}' in said
    assert 'did you mean "Dockerfil"' in said


def test_an_error_in_a_fetched_dockerfile_names_its_line(web, context, refused):
    dockerfile = f"{FROM}COPIE a /\n"
    for place, said in (
        ("Dockerfile", refused(web.put("/ctx", tar({"Dockerfile": dockerfile})))),
        ("stdin", refused("-", input=dockerfile)),
        ("stdin", refused(context("FROM x\n"), "-f", "-", input=dockerfile)),
    ):
        assert f"{place}:2: " in said
        assert "  2 | COPIE a /\n" in said
        assert 'did you mean "COPY"' in said


# -- named contexts


def named(**values):
    return [
        word for name, value in values.items() for word in ("--build-context", f"{name}={value}")
    ]


def test_a_named_context_may_be_a_folder_with_its_own_ignore_file(context, image_of, tmp_path):
    (tmp_path / "more").mkdir()
    for name, text in {"a": "A", "b": "B", ".dockerignore": "b"}.items():
        (tmp_path / "more" / name).write_text(text)
    folder = context(f"{FROM}COPY --from=more . /\n")
    made = image_of(folder, *named(more=tmp_path / "more"))
    assert set(made.contents) == {"a", ".dockerignore"}


def test_a_named_context_may_be_a_repository(git, context, image_of):
    folder = context(f"{FROM}COPY --from=src a.txt vendor/lib.txt /\n")
    assert set(image_of(folder, *named(src=f"{git[0]}#v1")).contents) == {"a.txt", "lib.txt"}


def test_a_named_context_may_be_an_archive_or_a_file_on_the_web(web, context, image_of):
    archive = web.put("/a.tgz", gzip.compress(tar({"d/f": "in"})))
    plain = web.put("/plain", b"text")
    folder = context(f"{FROM}COPY --from=one d /d\nCOPY --from=two context /f\n")
    made = image_of(folder, *named(one=archive, two=plain))
    assert made.contents == {"d/f": "in", "f": "text"}


def test_a_named_context_may_be_what_a_stage_stands_on(web, context, image_of):
    archive = web.put("/a.tgz", gzip.compress(tar({"d/f": "in"})))
    made = image_of(context("FROM rootfs\nCOPY a /a\n", {"a": "A"}), *named(rootfs=archive))
    assert made.contents == {"d/f": "in", "a": "A"}


def test_a_named_context_may_be_a_layout_or_an_image(wcbuild, context, image_of):
    image_of(context(f"{FROM}COPY a /kept\n", {"a": "A"}))
    folder = context("FROM one\nCOPY --from=two /bin/sh /shell\n")
    flags = named(one="docker-image://built", two=f"oci-layout://{wcbuild.base}")
    made = image_of(folder, *flags)
    assert made.contents["kept"] == "A"
    assert "shell" in made.members


@pytest.mark.parametrize("value", ["real", "target:real"])
def test_a_named_context_may_be_a_stage(context, image_of, value):
    dockerfile = (
        f"{FROM[:-1]} AS real\nCOPY a /\n{FROM[:-1]} AS mock\nCOPY b /\n"
        "FROM mock\nCOPY --from=mock / /copied/\n"
    )
    made = image_of(context(dockerfile, {"a": "A", "b": "B"}), *named(mock=value))
    assert made.contents == {"a": "A", "copied/a": "A"}


def test_a_named_context_that_is_nothing_is_an_error(context, refused):
    said = refused(context(f"{FROM}COPY --from=x a /\n"), *named(x="nothing"))
    assert 'neither a folder nor a stage "nothing"' in said
    assert "no such file" in refused(context(f"{FROM}COPY --from=x a /\n"), *named(x="./nothing"))


def test_a_command_sees_a_repository_that_is_mounted(git, wcbuild, context):
    folder = context("FROM base\nRUN --mount=from=src,target=/src cat /src/sub/b.txt > /b\n")
    wcbuild.build(folder, *named(src=git[0]), "-o", f"type=tar,dest={folder}/out.tar")
    with tarfile.open(folder / "out.tar") as archive:
        assert archive.extractfile("b").read() == b"b"


def test_a_path_from_the_root_is_a_dockerfile_of_this_machine(git, context, image_of, tmp_path):
    (tmp_path / "here").write_text(f"{FROM}COPY a.txt /here\n")
    made = image_of(git[0], "-f", tmp_path / "here")
    assert made.contents == {"here": "a"}


def test_the_folder_of_a_git_url_is_decoded(git, context, image_of):
    git[1].commit({"sp ace/x": "x"})
    made = image_of(context(f"{FROM}ADD {git[0]}#main:sp%20ace /\n"))
    assert made.contents == {"x": "x"}


# -- the epoch


def created(wcbuild):
    [document] = json.loads(wcbuild("inspect", "built").stdout)
    return document["Created"]


def test_the_epoch_may_be_that_of_the_context(git, web, context, image_of, wcbuild, tmp_path):
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=context")
    image_of(git[0], *flags)
    assert created(wcbuild) == "2020-02-02T02:02:02Z"
    data = tar({"Dockerfile": f"{FROM}COPY . /\n"}, mtime=86400)
    image_of(web.put("/ctx", data, headers={"Last-Modified": DATE}), *flags)
    assert created(wcbuild) == "2020-02-02T02:02:02Z"
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in") as stdin:
        image_of("-", *flags, stdin=stdin)
    assert created(wcbuild) == "1970-01-02T00:00:00Z"
    image_of(context(f"{FROM}COPY <<a /\na\n"), *flags)
    assert not created(wcbuild).startswith(("1970", "2020-02"))


def test_the_epoch_may_be_that_of_something_else_that_is_fetched(
    git, web, context, image_of, refused, wcbuild, tmp_path
):
    url = web.put("/f", b"x", headers={"Last-Modified": DATE})
    stage = f"FROM scratch AS src\nADD {url} /\nFROM scratch\nCOPY <<a /\na\n"
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=src")
    assert "invalid SOURCE_DATE_EPOCH: src" in refused(context(f"{FROM}COPY <<a /\na\n"), *flags)
    said = refused(context(f"ARG SOURCE_DATE_EPOCH=then\n{FROM}"))
    assert "Dockerfile:1: invalid SOURCE_DATE_EPOCH: then\n" in said
    image_of(context(stage), *flags)
    assert created(wcbuild) == "2020-02-02T02:02:02Z"
    image_of(context(f"{FROM}COPY <<b /\nb\n"), *flags, *named(src=git[0]))
    assert created(wcbuild) == "2020-02-02T02:02:02Z"
    local = ("--build-context", f"src={tmp_path}")
    image_of(context(f"{FROM}COPY <<c /\nc\n"), *flags, *local)
    assert not created(wcbuild).startswith("2020-02")


def test_a_run_sees_the_epoch_of_what_is_fetched(web, context, wcbuild, refused):
    url = web.put("/f.tar", tar({"a": "a"}, mtime=86400))
    stage = f"FROM scratch AS src\nARG NAME=f\nADD {url.removesuffix('f.tar')}$NAME.tar /\n"
    run = 'FROM base\nARG SOURCE_DATE_EPOCH\nRUN echo "$SOURCE_DATE_EPOCH" > /epoch\n'
    more = f"ARG SOURCE_DATE_EPOCH=src\n{stage}COPY <<b /\nb\n{FROM}"
    assert "is more, or less, than FROM scratch and ADD of one URL" in refused(context(more))
    folder = context(f"ARG SOURCE_DATE_EPOCH=src\n{stage}{run}")
    wcbuild.build(folder, "-o", f"type=tar,dest={folder}/out.tar")
    with tarfile.open(folder / "out.tar") as archive:
        assert archive.extractfile("epoch").read() == b"86400\n"


def test_the_epoch_of_an_archive_is_that_of_its_newest_file(web, context, image_of, wcbuild):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind, moment in (("d", tarfile.DIRTYPE, 3), ("f", tarfile.REGTYPE, 2)):
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, moment * 86400
            archive.addfile(member)
    url = web.put("/a.tgz", out.getvalue())
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=src")
    image_of(context(f"FROM scratch AS src\nADD {url} /\nFROM scratch\nLABEL a=1\n"), *flags)
    assert created(wcbuild) == "1970-01-03T00:00:00Z"
    image_of(context(f"{FROM}LABEL a=2\n"), *flags, *named(src=url))
    assert created(wcbuild) == "1970-01-03T00:00:00Z"


def test_the_dockerfile_sees_the_time_and_not_what_has_it(web, context, image_of, wcbuild):
    url = web.put("/f", b"x", headers={"Last-Modified": DATE})
    rest = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL at=$SOURCE_DATE_EPOCH\n"
    stage = f"FROM scratch AS src\nARG F=/f\nADD {web.url}$F /\n"
    for text in (f"ARG SOURCE_DATE_EPOCH=src\n{stage}{rest}", rest):
        flags = (*named(src=url), "--build-arg", "SOURCE_DATE_EPOCH=src")
        image_of(context(text), *(flags if text == rest else ()))
        [document] = json.loads(wcbuild("inspect", "built").stdout)
        assert document["Config"]["Labels"] == {"at": str(MOMENT)}


@pytest.mark.parametrize("context_value", ["docker-image://scratch", "."])
def test_a_context_that_has_no_time_gives_none(context, image_of, wcbuild, context_value):
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=src")
    image_of(context(f"{FROM}LABEL a=b\n"), *flags, *named(src=context_value))
    assert not created(wcbuild).startswith(("1970", "2020"))


@pytest.mark.parametrize(
    "stage",
    ["FROM scratch AS src", "FROM scratch AS src\nCOPY f /", "FROM scratch AS src\nADD f /"],
)
def test_a_stage_that_is_no_single_add_has_no_time(context, refused, stage):
    said = refused(context(f"{stage}\n{FROM}"), "--build-arg", "SOURCE_DATE_EPOCH=src")
    assert 'Dockerfile:1: SOURCE_DATE_EPOCH: stage "src" is more, or less, than' in said


# -- what stays


def test_rmi_and_prune_delete_what_was_fetched(git, web, context, image_of, wcbuild):
    url = web.put("/f", b"text" * 1000, headers={"ETag": '"one"'})
    folder = context(f"{FROM}ADD {url} /f\nADD {git[0]} /g\n")
    image_of(folder)
    web.put("/f", b"news" * 1000, headers={"ETag": '"two"'})
    image_of(folder)
    files = wcbuild.root / "downloads/files/sha256"
    assert len(list(files.iterdir())) == 2
    wcbuild("rmi", "built")
    assert len(list(files.iterdir())) == 1
    wcbuild("prune")
    assert not (wcbuild.root / "downloads").exists()
    assert not (wcbuild.root / "git").exists()
    image_of(folder)


def test_nothing_is_left_in_the_scratch_folder(web, image_of, wcbuild, refused):
    data = gzip.compress(tar({"Dockerfile": f"{FROM}COPY . /\n"}))
    image_of(web.put("/ctx", data))
    assert list((wcbuild.root / "tmp").iterdir()) == []


def test_an_agent_that_served_in_vain_leaves_nothing(context, refused, image_of, wcbuild, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    folder = context(f"{FROM}ADD ssh://git@127.0.0.1:1/app.git /\n")
    assert "Connection refused" in refused(folder, "--ssh", f"default={key}")
    assert list((wcbuild.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("in_step", [True, False])
def test_an_interrupted_build_ends_the_git_that_it_started(web, context, wcbuild, in_step):
    web.put("/slow.git/info/refs?service=git-upload-pack", b"x" * 12_000, pause_s=0.05)
    url = f"{web.url}/slow.git"
    argument = context(f"{FROM}ADD {url} /x\n") if in_step else url
    process = subprocess.Popen(
        wcbuild.command("build", argument),
        env=wcbuild.env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    git_folder = wcbuild.root / "git"
    assert until(lambda: processes_in(git_folder))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    assert until(lambda: not processes_in(git_folder))


# -- from Python


def test_standard_input_may_be_bytes_or_a_descriptor(tmp_path):
    data = tar({"Dockerfile": f"{FROM}COPY a /\n", "a": "A"})
    root = tmp_path / "store"
    first = build(BuildRequest(context="-", stdin=data, root=root))
    (tmp_path / "in").write_bytes(data)
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        second = build(BuildRequest(context="-", stdin=fd, root=root))
    finally:
        os.close(fd)
    assert first.image_id == second.image_id
    (tmp_path / "a").write_text("B")
    dockerfile = f"{FROM}COPY a /\n".encode()
    outputs = (Output(kind="tar", dest=str(tmp_path / "out.tar")),)
    build(BuildRequest(context=tmp_path, file="-", stdin=dockerfile, root=root, outputs=outputs))
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.extractfile("a").read() == b"B"
