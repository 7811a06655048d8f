"""`RUN --mount` with the command: what is seen, what stays, and what leaves no trace."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .conftest import Wcbuild

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]


def layers(wcbuild: Wcbuild, name: str, folder: Path) -> list[dict[str, bytes]]:
    """Return what the layers above the base hold, by path."""
    wcbuild("save", "-o", folder / "saved.tar", name)
    with tarfile.open(folder / "saved.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        found = []
        for layer in manifest["Layers"][1:]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                found.append(
                    {
                        member.name: files.extractfile(member).read() if member.isfile() else b""
                        for member in files
                    }
                )
    return found


def cached(done: subprocess.CompletedProcess[str]) -> bool:
    """Say whether the last RUN was found."""
    lines = done.stderr.splitlines()
    number = next(line.split()[0] for line in reversed(lines) if "] RUN" in line)
    return f"{number} CACHED" in lines


# -- bind


def test_bind_shows_the_context_without_what_is_ignored_owned_by_root(wcbuild, context, tmp_path):
    folder = context(
        "FROM base\nWORKDIR /w\nRUN --mount=target=src cd src && find . | sort > /list"
        " && stat -c %u:%g a/f > /owner && cat a/f > /content\n",
        {"a/f": "text", "secret": "x", ".dockerignore": "secret\n"},
    )
    wcbuild.build(folder, "-t", "t")
    [_, made] = layers(wcbuild, "t", tmp_path)
    assert made == {
        "list": b".\n./.dockerignore\n./Dockerfile\n./a\n./a/f\n",
        "owner": b"0:0\n",
        "content": b"text",
    }


@pytest.mark.parametrize("source", ["a/f", "a/./f", "/a/f", "../a/f", "link", "odd*name[1]"])
def test_bind_takes_a_file(wcbuild, context, source):
    folder = context(
        f"FROM base\nRUN --mount=source={source},target=/in/f test $(cat /in/f) = text\n",
        {"a/f": "text", "odd*name[1]": "text", "oddXname1": "other"},
    )
    (folder / "link").symlink_to("a/f")
    wcbuild.build(folder)


def test_bind_is_read_only_unless_asked(wcbuild, context):
    folder = context("FROM base\nRUN --mount=target=/m ! touch /m/new\n", {"f": "x"})
    wcbuild.build(folder)


def test_bind_from_a_stage_an_image_and_a_named_context(wcbuild, context, tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "n").write_text("from a context")
    folder = context(
        "FROM base AS made\nRUN mkdir -p /out/sub && echo stage > /out/sub/f\n"
        "FROM base\n"
        "RUN --mount=from=made,source=/out,target=/a --mount=from=base,target=/b"
        " --mount=from=named,target=/c --mount=from=named,source=n,target=/d"
        " cat /a/sub/f /c/n /d > /seen && test -x /b/bin/sh && ! touch /a/x && ! touch /b/x\n"
    )
    wcbuild.build(folder, "-t", "t", "--build-context", f"named={tmp_path / 'named'}")
    [made] = layers(wcbuild, "t", tmp_path)
    assert made == {"seen": b"stage\nfrom a contextfrom a context"}


def test_bind_from_an_empty_stage(wcbuild, context):
    folder = context(
        'FROM scratch AS nothing\nFROM base\nRUN --mount=from=nothing,target=/m test -z "$(ls /m)"\n'
    )
    wcbuild.build(folder)


def test_missing_source_of_a_bind_is_named_with_its_line(wcbuild, context):
    folder = context("FROM base\nRUN --mount=source=fiel,target=/m true\n", {"file": "x"})
    failed = wcbuild.build(folder, check=False)
    assert failed.returncode == 1
    assert "Dockerfile:2" in failed.stderr
    assert '"/fiel": not found' in failed.stderr
    assert 'did you mean "/file"' in failed.stderr


def test_missing_source_of_a_bind_from_a_stage_names_the_stage(wcbuild, context):
    folder = context(
        "FROM base AS made\nRUN touch /file\n"
        "FROM base\nRUN --mount=from=made,source=fiel,target=/m true\n"
    )
    failed = wcbuild.build(folder, check=False)
    assert '"/fiel": not found in stage "made" (did you mean "/file"?)' in failed.stderr


def test_bind_of_a_context_reruns_when_what_it_shows_changes_and_only_then(wcbuild, context):
    folder = context("FROM base\nRUN --mount=source=a,target=/m cat /m/f\n", {"a/f": "1", "b": "1"})
    assert not cached(wcbuild.build(folder))
    assert cached(wcbuild.build(folder))
    (folder / "b").write_text("2")
    assert cached(wcbuild.build(folder))
    (folder / "a/f").write_text("2")
    assert not cached(wcbuild.build(folder))


def test_bind_of_a_stage_is_known_by_content(wcbuild, context):
    """The stage is built again, but what is mounted from it stays the same."""
    text = "FROM base AS s\nRUN echo {} > /other && echo same > /f\n"
    text += "FROM base\nRUN --mount=from=s,source=f,target=/f cat /f\n"
    assert not cached(wcbuild.build(context(text.format(1))))
    assert cached(wcbuild.build(context(text.format(2))))


# -- attacks


@pytest.mark.parametrize("source", ["x", "x/tmp", "deep/x"])
def test_v25_symlinks_in_a_mounted_image_stay_inside_it(wcbuild, context, tmp_path, source):
    """CVE-2024-1753: `source=` is a link to / in the image."""
    (tmp_path / "canary").write_text("canary")
    folder = context(
        "FROM base AS evil\nRUN ln -s / /x && mkdir /deep && ln -s ../../../../.. /deep/x\n"
        "FROM base\n"
        f"RUN --mount=from=evil,source={source},target=/m ! test -e /m{tmp_path}/canary"
        f" && ! test -e /m/../{tmp_path}/canary\n"
    )
    wcbuild.build(folder)


def test_v25_symlinks_in_the_context_do_not_lead_out_of_it(wcbuild, context, tmp_path):
    (tmp_path / "canary").write_text("canary")
    folder = context("FROM base\nRUN --mount=source=out,target=/m cat /m/canary\n")
    (folder / "out").symlink_to(tmp_path)
    failed = wcbuild.build(folder, check=False)
    assert failed.returncode == 1
    assert "\ncanary" not in failed.stderr


@pytest.mark.parametrize("link", ["{}", "../../../../../../..{}", "up{}"])
def test_v25_symlinks_in_a_cache_do_not_lead_out_of_it(wcbuild, context, tmp_path, link):
    """A step leaves a link in a cache, and a later one names it as `source=`."""
    (tmp_path / "canary").write_text("canary")
    folder = context(
        "FROM base\n"
        f"RUN --mount=type=cache,id=c,target=/c ln -s / /c/up && ln -s {link.format(tmp_path)} /c/out\n"
        "RUN --mount=type=cache,id=c,source=out,target=/m cat /m/canary\n"
    )
    failed = wcbuild.build(folder, check=False)
    assert failed.returncode == 1
    assert 'Dockerfile:3: sandbox: mount source "/out": no such file' in failed.stderr


def test_v25_targets_do_not_lead_out_of_the_root(wcbuild, context, tmp_path):
    (tmp_path / "f").write_text("untouched")
    folder = context(
        f"FROM base\nRUN mkdir -p {tmp_path} && ln -s {tmp_path} /out && ln -s /../../.. /up\n"
        "RUN --mount=type=tmpfs,target=/out/t --mount=type=cache,target=/up/c"
        " echo x > /out/t/f && echo x > /c/f\n"
    )
    wcbuild.build(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["context", "f", "store"]


def test_v27_the_id_of_a_cache_is_no_path(wcbuild, context, tmp_path):
    """CVE-2024-9675."""
    for name in ("../../../out", "/abs", "a/b", "..", ".", "x" * 5000):
        folder = context(
            f"FROM base\nRUN --mount=type=cache,id={name},target=/c touch /c/BREAKOUT\n"
        )
        wcbuild.build(folder)
    found = [path for path in tmp_path.rglob("BREAKOUT") if path.parents[1].name != "mounts"]
    assert found == []


def test_v28_writes_to_a_bind_are_seen_and_gone(wcbuild, context, tmp_path):
    """CVE-2024-11218, CVE-2025-4953."""
    folder = context(
        "FROM base AS s\nRUN mkdir /out && echo one > /out/f\n"
        "FROM base\n"
        "RUN --mount=target=/m,rw --mount=from=s,source=out,target=/s,rw"
        " echo two > /m/f && rm /m/g && echo new > /m/new && echo two > /s/f && cat /m/f /s/f > /seen\n"
        "RUN --mount=target=/m,rw --mount=from=s,source=out,target=/s,rw"
        " cat /m/f /s/f > /again && test -e /m/g && ! test -e /m/new\n",
        {"f": "one\n", "g": "x"},
    )
    wcbuild.build(folder, "-t", "t")
    assert (folder / "f").read_text() == "one\n"
    assert sorted(os.listdir(folder)) == ["Dockerfile", "f", "g"]
    assert layers(wcbuild, "t", tmp_path) == [
        {"seen": b"two\ntwo\n"},
        {"again": b"one\none\n"},
    ]


def test_v30_mount_points_leave_no_trace_in_the_layer(wcbuild, context, tmp_path):
    folder = context(
        "FROM base\nRUN mkdir /kept && touch -d @0 /kept\n"
        "RUN --mount=type=tmpfs,target=/kept/t/u --mount=type=cache,target=/c"
        " --mount=type=secret,id=s,target=/kept/s --mount=target=/etc/new/ctx"
        " echo x > /made; echo y > /kept/t/u/f; echo z > /c/f\n"
    )
    (tmp_path / "s").write_text("secret")
    wcbuild.build(folder, "-t", "t", "--secret", f"id=s,src={tmp_path / 's'}")
    assert layers(wcbuild, "t", tmp_path)[1] == {"made": b"x\n"}


def test_v30_replaced_parents_of_mount_points_are_not_followed(wcbuild, context, tmp_path):
    """CVE-2024-23652: cleaning up through a link that the command put in its place."""
    (tmp_path / "t").mkdir()
    folder = context(
        "FROM base\nRUN --mount=type=tmpfs,target=/d/t"
        f" mv /d /e 2>&1; rm -rf /d; ln -s {tmp_path} /d; true\n"
    )
    wcbuild.build(folder)
    assert (tmp_path / "t").is_dir()


# -- tmpfs


def test_tmpfs_has_its_size_and_is_gone(wcbuild, context, tmp_path):
    folder = context(
        "FROM base\nRUN --mount=type=tmpfs,target=/t,size=1m"
        " ! dd if=/dev/zero of=/t/f bs=1M count=2 2>/dev/null && stat -f -c %T /t > /kind\n"
    )
    wcbuild.build(folder, "-t", "t")
    assert layers(wcbuild, "t", tmp_path) == [{"kind": b"tmpfs\n"}]


# -- cache


def test_cache_keeps_files_between_steps_and_builds_until_pruned(wcbuild, context, tmp_path):
    text = "FROM base\nRUN --mount=type=cache,target=/c echo {} >> /c/log && cp /c/log /log\n"
    wcbuild.build(context(text.format("one")))
    wcbuild.build(context(text.format("two")), "-t", "t")
    assert layers(wcbuild, "t", tmp_path) == [{"log": b"one\ntwo\n"}]
    wcbuild("prune")
    assert not list(wcbuild.root.glob("mounts/*"))
    wcbuild.build(context(text.format("three")), "-t", "t")
    assert layers(wcbuild, "t", tmp_path) == [{"log": b"three\n"}]


def test_caches_are_told_apart_by_id(wcbuild, context):
    folder = context(
        "FROM base\n"
        "RUN --mount=type=cache,id=a,target=/c touch /c/f\n"
        "RUN --mount=type=cache,id=a,target=/d test -e /d/f\n"
        "RUN --mount=type=cache,target=/c test ! -e /c/f\n"
        "RUN --mount=type=cache,id=a,target=/c,ro test -e /c/f && ! touch /c/g\n"
    )
    wcbuild.build(folder)


def test_source_names_what_is_shown_of_a_cache(wcbuild, context):
    folder = context(
        "FROM base\n"
        "RUN --mount=type=cache,id=a,target=/c mkdir -p /c/d/e && echo x > /c/d/e/f && ln -s /d/e /c/l\n"
        "RUN --mount=type=cache,id=a,source=d/e,target=/m test $(ls /m) = f && echo y > /m/g\n"
        "RUN --mount=type=cache,id=a,source=/l,target=/m,uid=3,mode=700"
        " test $(cat /m/g) = y && test $(stat -c %a:%u /m) = 755:0\n"
        "RUN --mount=type=cache,id=a,source=d/e/f,target=/m,ro test $(cat /m) = x && ! echo z > /m\n"
    )
    wcbuild.build(folder)
    folder = context("FROM base\nRUN --mount=type=cache,id=a,source=dd,target=/m true\n")
    failed = wcbuild.build(folder, check=False)
    assert 'Dockerfile:2: sandbox: mount source "/dd": no such file' in failed.stderr


def test_no_cache_empties_caches_once(wcbuild, context, tmp_path):
    def seen(value, *flags):
        folder = context(
            "FROM base AS a\nARG V\nRUN --mount=type=cache,target=/c echo a$V >> /c/log\n"
            "FROM a\nRUN --mount=type=cache,target=/c echo b$V >> /c/log && cp /c/log /log\n"
        )
        wcbuild.build(folder, "--build-arg", f"V={value}", "-t", "t", *flags)
        return layers(wcbuild, "t", tmp_path)[-1]["log"].decode().split()

    assert seen(1) == ["a1", "b1"]
    assert seen(2, "--no-cache") == ["a2", "b2"]
    assert seen(3) == ["a2", "b2", "a3", "b3"]


def test_a_new_cache_has_the_owner_and_mode_asked_for(wcbuild, context):
    owner = "3:4" if full_ownership(wcbuild, context) else "0:0"
    folder = context(
        "FROM base\nRUN --mount=type=cache,target=/a test $(stat -c %a:%u:%g /a) = 755:0:0\n"
        "RUN --mount=type=cache,target=/b,mode=1700,uid=3,gid=4"
        f" test $(stat -c %a:%u:%g /b) = 1700:{owner}\n"
    )
    wcbuild.build(folder)


def full_ownership(wcbuild, context) -> bool:
    """Say whether files can get any owner here."""
    folder = context("FROM base\nRUN touch /f && chown 3 /f && test $(stat -c %u /f) = 3\n")
    return wcbuild.build(folder, check=False).returncode == 0


def test_a_cache_begins_with_what_from_says(wcbuild, context):
    folder = context(
        "FROM base AS s\nRUN mkdir -p -m 711 /begin/d && echo x > /begin/d/f && ln -s d /begin/l\n"
        "FROM base\n"
        "RUN --mount=type=cache,from=s,source=begin,target=/c test $(cat /c/l/f) = x && rm -r /c/d\n"
        "RUN --mount=type=cache,id=/c,from=s,source=begin,target=/e test ! -e /e/d -a -L /e/l\n"
        "RUN --mount=type=cache,from=s,source=begin/d,target=/m,uid=3 test $(stat -c %a /m) = 711\n"
    )
    wcbuild.build(folder)


def until_there(path: str) -> str:
    """Return a shell's words that wait for a path, though not for ever."""
    return f"i=0; until test -e {path}; do sleep 0.1; i=$((i+1)); test $i -lt 1200 || exit 1; done"


def together(mount: str, meanwhile: dict[str, str]) -> str:
    """Return a Dockerfile of two steps, `a` and `b`, that have ``mount`` at /c."""
    return (
        "".join(
            f"FROM base AS {name}\n{mount} mkdir /c/busy && {script} && rmdir /c/busy && echo > /{name}\n"
            for name, script in meanwhile.items()
        )
        + "FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    )


def names_of_mounts(wcbuild) -> set[str]:
    return {path.name.partition("-")[2] for path in wcbuild.root.glob("mounts/*-*")}


def test_a_locked_cache_has_one_user_at_a_time(wcbuild, context):
    mount = "RUN --mount=type=cache,id=one,sharing=locked,target=/c"
    wcbuild.build(context(together(mount, dict.fromkeys("ab", "sleep 0.3"))))
    assert names_of_mounts(wcbuild) == {"0", "0.lock"}


def test_a_private_cache_is_another_for_each_user_at_a_time(wcbuild, context):
    mount = "RUN --mount=type=cache,target=/m --mount=type=cache,id=one,sharing=private,target=/c"
    meeting = {
        own: f"touch /m/{own} && {{ {until_there(f'/m/{other}')}; }}" for own, other in ("ab", "ba")
    }
    wcbuild.build(context(together(mount, meeting)))
    assert names_of_mounts(wcbuild) == {"0", "0.lock", "1", "1.lock"}


def test_a_shared_cache_has_several_users(wcbuild, context):
    mount = "RUN --mount=type=cache,target=/c"
    folder = context(
        f"FROM base AS a\n{mount} touch /c/a; {until_there('/c/b')}; echo a > /a\n"
        f"FROM base AS b\n{mount} touch /c/b; {until_there('/c/a')}; echo b > /b\n"
        "FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    )
    wcbuild.build(folder)


def test_a_failed_build_gives_its_caches_back(wcbuild, context):
    mount = "RUN --mount=type=cache,id=one,sharing=locked,target=/c"
    wcbuild.build(context(f"FROM base\n{mount} exit 1\n"), check=False)
    wcbuild.build(context(f"FROM base\n{mount} true\n"), timeout=300)


def test_mounts_lie_in_each_other(wcbuild, context):
    folder = context(
        "FROM base\nRUN --mount=target=/t/m --mount=type=tmpfs,target=/t"
        " --mount=type=secret,id=s,target=/t/m2/s"
        " test -e /t/m/Dockerfile -a -e /t/m2/s && touch /t/x\n"
    )
    wcbuild.build(folder, "--secret", f"id=s,src={folder / 'Dockerfile'}")


def test_a_mount_needs_a_place_in_a_read_only_one_that_it_lies_in(wcbuild, context):
    text = (
        "FROM base\nWORKDIR /w\nRUN --mount=target=.{} --mount=type=cache,target=new touch new/f\n"
    )
    failed = wcbuild.build(context(text.format("")), check=False)
    assert 'sandbox: mount "/w/new": read-only file system (it lies in' in failed.stderr
    wcbuild.build(context(text.format(",rw")))


# -- secrets


def test_secret_is_a_file_or_a_variable(wcbuild, context, tmp_path):
    (tmp_path / "token").write_bytes(b"t0ken")
    folder = context(
        "FROM base\nWORKDIR /w\n"
        "RUN --mount=type=secret,id=token test $(cat /run/secrets/token) = t0ken"
        " && test $(stat -c %a:%u:%g /run/secrets/token) = 400:0:0\n"
        "RUN --mount=type=secret,id=token,env=TOKEN test $TOKEN = t0ken -a ! -e /run/secrets/token\n"
        "RUN --mount=type=secret,id=token,env=TOKEN,target=here,mode=0444"
        " test $TOKEN = $(cat /w/here) && test $(stat -c %a /w/here) = 444\n"
        'RUN test -z "$TOKEN" && test ! -e /run/secrets -a ! -e /w/here\n'
    )
    wcbuild.build(folder, "--secret", f"id=token,src={tmp_path / 'token'}")


def test_secret_comes_from_a_variable(wcbuild, context, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "v")
    folder = context("FROM base\nRUN --mount=type=secret,id=token,env=T test $T = v\n")
    wcbuild.build(folder, "--secret", "id=token,env=MY_TOKEN")


def test_secret_that_was_not_given_is_not_there_unless_it_is_required(wcbuild, context):
    wcbuild.build(context("FROM base\nRUN --mount=type=secret,id=s test ! -e /run/secrets\n"))
    folder = context("FROM base\nRUN --mount=type=secret,id=s,required true\n")
    failed = wcbuild.build(folder, check=False)
    assert failed.returncode == 1
    assert "Dockerfile:2" in failed.stderr
    assert 'secret "s" is required; give it with --secret id=s' in failed.stderr
    text = "FROM base\nRUN echo begun\nWORKDIR /w\nRUN --mount=type=secret,id=s,required true\n"
    failed = wcbuild.build(context(text), check=False)
    assert 'Dockerfile:4: secret "s" is required' in failed.stderr
    assert "begun" not in failed.stderr


def test_another_value_of_a_secret_runs_nothing_again(wcbuild, context, tmp_path):
    folder = context("FROM base\nRUN --mount=type=secret,id=s cat /run/secrets/s | wc -c\n")
    for value in ("one", "another"):
        (tmp_path / "s").write_text(value)
        done = wcbuild.build(folder, "--secret", f"id=s,src={tmp_path / 's'}")
    assert cached(done)


@pytest.mark.parametrize("end", ["true", "false"])
def test_v41_a_secret_is_nowhere_afterwards(wcbuild, context, tmp_path, end):
    value = os.urandom(32).hex().encode()
    outside = tmp_path.parent / f"{tmp_path.name}-secret"
    outside.write_bytes(value)
    folder = context(
        "FROM base\nRUN --mount=type=secret,id=s,env=S --mount=type=secret,id=s"
        " --mount=type=cache,target=/c --mount=target=/m,rw"
        f" test $S = $(cat /run/secrets/s) && echo x > /made && echo y > /c/f && {end}\n"
    )
    done = wcbuild.build(folder, "--secret", f"id=s,src={outside}", "-t", "t", check=False)
    assert done.returncode == (end == "false")
    assert value.decode() not in done.stdout + done.stderr
    if end == "true":
        wcbuild("save", "-o", tmp_path / "saved.tar", "t")
        assert value.decode() not in wcbuild("history", "--no-trunc", "t").stdout
        assert {"made": b"x\n"} in layers(wcbuild, "t", tmp_path)
    seen = 0
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            seen += 1
            assert value not in path.read_bytes(), path
    assert seen > 10


# -- ssh


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    return path


def test_ssh_gives_a_socket_for_one_command(wcbuild, context, tmp_path, key):
    folder = context(
        "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && ! chmod 0 $SSH_AUTH_SOCK"
        ' && test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0\nRUN test -z "$SSH_AUTH_SOCK"\n'
    )
    wcbuild.build(folder, "--ssh", f"default={key}", "-t", "t")
    assert layers(wcbuild, "t", tmp_path) == [{}, {}]


def test_ssh_has_the_owner_and_mode_asked_for(wcbuild, context, key):
    folder = context(
        "FROM base\nRUN --mount=type=ssh,mode=0640,uid=7,gid=8,target=/agent stat -c '%a %u %g' /agent\n"
    )
    done = wcbuild.build(folder, "--ssh", f"default={key}")
    owner = "7 8" if os.geteuid() == 0 else ""
    assert f"640 {owner}" in done.stderr


@pytest.mark.peers
def test_ssh_lists_the_keys_that_were_given(wcbuild, context, key, debian_layout):
    # Perl is the only one in Debian's smallest base who can talk to a socket.
    script = """\
use Socket;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
connect($s, pack_sockaddr_un($ENV{SSH_AUTH_SOCK})) or die $!;
syswrite $s, pack("NC", 1, 11);
sysread $s, my $answer, 65536;
print "keys: ", unpack("x5N", $answer), "\\n";
"""
    debian = f"debian=oci-layout://{debian_layout}"
    words = ("--build-context", debian, "--ssh", f"default={key}")
    text = "FROM debian\nCOPY list.pl /\nRUN --mount=type=ssh perl /list.pl\n"
    assert "keys: 1" in wcbuild.build(context(text, {"list.pl": script}), *words).stderr


def test_ssh_that_is_required_and_was_not_given_is_named(wcbuild, context):
    failed = wcbuild.build(context("FROM base\nRUN --mount=type=ssh,required true\n"), check=False)
    assert "give it with --ssh default" in failed.stderr
