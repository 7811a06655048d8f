"""The flags of `wcbuild build`, in every form that `docker buildx build` takes."""

import argparse
import json
import os
import subprocess
import sys
import tarfile

import pytest

from registry.errors import NotFoundError
from wcbuild.cli.build import add_arguments
from wcbuild.cli.buildargs import read_build_args
from wcbuild.cli.runflags import read_host, read_limits, read_ulimit
from wcbuild.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A build context that is where commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG A=1\nLABEL a=$A\nCOPY Dockerfile /x\n")
    return tmp_path


@pytest.fixture
def built(wcbuild, folder):
    """Build with flags; give the image's config."""

    def build(*flags: str):
        wcbuild("build", "--progress", "none", "-t", "built", *flags, ".")
        return wcbuild("inspect", "built").json[0]["Config"]

    return build


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*words, "."])


@pytest.mark.parametrize("name", ["push", "load", "pull", "no-cache", "quiet"])
def test_switches_may_have_a_value_and_the_last_one_counts(name):
    flag, dest = f"--{name}", name.replace("-", "_")
    for words, on in {
        (flag,): True,
        (f"{flag}=true",): True,
        (f"{flag}=0",): False,
        (flag, f"{flag}=false"): False,
        (f"{flag}=false", flag): True,
        (): False,
    }.items():
        assert getattr(parsed(*words), dest) is on, words


def test_check_is_a_switch_for_what_is_called():
    for words, method in {
        (): "build",
        ("--check",): "check",
        ("--check=true",): "check",
        ("--check", "--check=false"): "build",
        ("--call=outline",): "outline",
    }.items():
        assert parsed(*words).call == method


def test_flags_that_change_nothing_are_accepted(built):
    assert built(
        *("--rm", "--force-rm=true", "--compress", "--provenance=false", "--sbom=false", "--load"),
        *("--attest", "type=provenance,disabled=true", "--network=", "--progress=", "--call="),
        *("--cache-from=", "--cache-to="),
        *("--secret=", "--ssh=", "--output=", "--annotation=", "--add-host="),
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--provenance=mode=max",), "wcbuild attest"),
        (("--attest", "type=sbom"), "wcbuild attest"),
        (("--cache-from", "type=gha"), "a CI system can keep the folder"),
        (("--builder", "mine"), "no builders"),
        (("--cpu-shares", "512"), "--cpus"),
        (("--tags", "x"), 'did you mean "--tag"'),
        (("--no-such-thing",), 'unknown flag "--no-such-thing"'),
        (("--network", "bridge"), "invalid choice"),
        (("--memory", "x"), "--memory"),
        (("--iidfile", "no/id"), '"no/id"'),
        (("--metadata-file", "no/m"), '"no/m"'),
        (("--annotation", "a"), "NAME=VALUE"),
        (("--build-context", "a="), "NAME=VALUE"),
        (("--label", "=a"), "NAME=VALUE"),
        (("--platform", "foo"), "neither an operating system nor an architecture"),
        (("--tag", "UPPER"), "must be lower case"),
        (("--cache-from", "UPPER"), "must be lower case"),
        (("--annotation", "index[foo]:a=b"), "neither an operating system nor an architecture"),
        (("-o", "type=oci,dest=x,name=UPPER"), "must be lower case"),
    ],
)
def test_other_flags_are_refused_in_one_line_that_helps(wcbuild, folder, words, told):
    outcome = wcbuild("build", *words, ".", status=2)
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a:1.2.3.4", ("a", "1.2.3.4")),
        ("a=1.2.3.4", ("a", "1.2.3.4")),
        ("a:::1", ("a", "::1")),
        ("a=::1", ("a", "::1")),
        ("a:[::1]", ("a", "::1")),
        ("a:host-gateway", ("a", "127.0.0.1")),
    ],
)
def test_hosts(text, meant):
    assert read_host(text) == meant


@pytest.mark.parametrize("text", ["a", "a:", "a=", ":1.2.3.4", "a:x", "a:1.2.3", "a:1.2.3.4 b"])
def test_refuses_hosts_without_an_address(text):
    with pytest.raises(UsageError, match="--add-host"):
        read_host(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("nofile=1024", ("nofile", 1024, 1024)),
        ("nofile=1:2", ("nofile", 1, 2)),
        ("core=-1", ("core", -1, -1)),
        ("core=5:-1", ("core", 5, -1)),
    ],
)
def test_ulimits(text, meant):
    assert read_ulimit(text) == meant


@pytest.mark.parametrize(
    "text", ["nofile", "nofile=", "nofile=x", "nofile=1:2:3", "nofil=1", "nofile=2:1", "core=-1:5"]
)
def test_refuses_ulimits_that_there_are_not(text):
    with pytest.raises(UsageError, match="--ulimit"):
        read_ulimit(text)


def test_limits_in_both_ways():
    assert read_limits(parsed("-m", "1m", "--cpus", "1.5")) == (1 << 20, 1.5)
    assert read_limits(parsed("--cpu-quota", "50000")) == (0, 0.5)
    words = ("--resource", "memory=2k", "--resource", "cpu-quota=30", "--resource=cpu-period=20")
    assert read_limits(parsed(*words)) == (2048, 1.5)
    for text in ("memory", "memory=x", "cpu-quota=x", "cpu-shares=1"):
        with pytest.raises(UsageError):
            read_limits(parsed("--resource", text))
    assert parsed("--network=").network == "default"


def test_build_arguments_of_the_environment(tmp_path):
    environment = {"A": "1", "SOURCE_DATE_EPOCH": "5", "DOCKER_CONFIG": str(tmp_path)}
    assert read_build_args(["A", "B", "C=", "D=a=b"], environment) == {
        "A": "1",
        "C": "",
        "D": "a=b",
        "SOURCE_DATE_EPOCH": "5",
    }
    with pytest.raises(UsageError, match="no name"):
        read_build_args(["=1"], environment)


def test_proxies_of_dockers_settings_are_build_arguments(tmp_path):
    settings = {"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}, "tcp://h": {}}}
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(settings))
    home = {"HOME": str(tmp_path)}
    assert read_build_args(["http_proxy=mine"], home) == {
        "http_proxy": "mine",
        "NO_PROXY": "x",
        "no_proxy": "x",
    }
    (tmp_path / ".docker" / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json: is not JSON"):
        read_build_args([], home)


def test_the_platform_of_the_environment_is_that_of_builds_that_name_none(
    wcbuild, folder, monkeypatch
):
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    for flags, architecture in (((), "arm64"), (("--platform=linux/s390x",), "s390x")):
        wcbuild("build", "--progress", "none", "-t", "built", *flags, ".")
        assert wcbuild("inspect", "built").json[0]["Architecture"] == architecture


def test_a_policy_of_the_environment_that_nothing_would_heed_is_refused(
    wcbuild, folder, monkeypatch
):
    monkeypatch.setenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json")
    outcome = wcbuild("build", ".", status=2)
    assert "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY is set" in outcome.err


def test_quiet_progress_says_the_id_and_none_says_nothing(wcbuild, folder):
    image_id = wcbuild("build", "-q", ".").out
    assert image_id.startswith("sha256:")
    assert wcbuild("build", "--progress=quiet", ".").out == image_id
    outcome = wcbuild("build", "--progress=none", ".")
    assert (outcome.out, outcome.err) == ("", "")


def test_what_is_written_besides_goes_where_it_is_named(wcbuild, folder):
    read, write = os.pipe()
    wcbuild(
        *("build", "--progress", "none", "-o", "type=oci,dest=new/a.tar", "--iidfile", "id"),
        *("--metadata-file", f"/dev/fd/{write}", "."),
    )
    os.close(write)
    with open(read) as pipe:
        metadata = json.load(pipe)
    assert metadata["containerimage.config.digest"] == (folder / "id").read_text()
    with tarfile.open(folder / "new" / "a.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
    assert metadata["containerimage.digest"] == index["manifests"][0]["digest"]


def test_a_failed_build_leaves_no_id_of_another(wcbuild, folder):
    wcbuild("build", "--iidfile", "id", ".")
    wcbuild("build", "--iidfile", "id", "--target", "nothing", ".", status=1)
    assert not (folder / "id").exists()


def test_a_name_in_an_output_counts_where_there_is_no_tag(wcbuild, folder):
    wcbuild("build", "--progress", "none", "-o", 'type=image,"name=one:1,two:2"', ".")
    wcbuild("build", "--progress", "none", "-t", "three:3", "-o", "type=image,name=four:4", ".")
    names = wcbuild("images", "--format", "{{.Repository}}").out.split()
    assert sorted(names) == ["one", "three", "two"]


def test_an_image_that_was_built_again_with_a_name_is_listed_once(wcbuild, folder):
    for flags, names in (((), ["<none>"]), (("-t", "a:1"), ["a"])):
        wcbuild("build", "--progress", "none", *flags, ".")
        assert wcbuild("images", "--format", "{{.Repository}}").out.split() == names


def test_an_empty_output_does_not_write_into_the_folder(wcbuild, folder):
    wcbuild("build", "--progress", "none", "-o", "", ".")
    assert not (folder / "x").exists()


@pytest.mark.parametrize("epoch", ["x", "-1", "1.5", "253402300800", "9" * 40])
def test_refuses_times_that_no_image_can_say(wcbuild, folder, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert f"SOURCE_DATE_EPOCH: {epoch}" in wcbuild("build", ".", status=2).err


def test_what_is_pushed_by_digest_has_no_tag_and_the_metadata_says_the_digest(
    wcbuild, folder, remote
):
    push = f"type=image,push=true,push-by-digest=true,name={remote('team/app')}"
    wcbuild("build", "--progress", "none", "-o", push, "--metadata-file", "m.json", ".")
    digest = json.loads((folder / "m.json").read_text())["containerimage.digest"]
    repository = remote.repository("team/app")
    assert str(repository.resolve(digest).digest) == digest
    with pytest.raises(NotFoundError):
        repository.resolve("latest")


@pytest.mark.parametrize("kind", ["oci", "tar"])
def test_a_full_disk_is_told_with_the_file(wcbuild, folder, kind):
    outcome = wcbuild("build", "-q", "-o", f"type={kind},dest=/dev/full", ".", status=1)
    assert "/dev/full: No space left on device" in outcome.err


def test_nobody_needs_to_listen(wcbuild, folder):
    script = "import sys; sys.stdout = sys.stderr = None; from wcbuild.cli.main import main; main()"
    words = (sys.executable, "-c", script, "build", "-q", "--iidfile", "id", ".")
    assert subprocess.run(words, check=False, capture_output=True).stderr == b""
    assert (folder / "id").read_text().startswith("sha256:")
