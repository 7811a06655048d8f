"""`--secret` and `--ssh`."""

from pathlib import Path

import pytest

from wcbuild.cli.secrets import MAX_SECRET_BYTES, find_agents, read_secrets
from wcbuild.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("id=s,src=FILE", b"from a file\n"),
        ("id=s,source=FILE", b"from a file\n"),
        ("type=file,id=s,src=FILE", b"from a file\n"),
        ("id=s,env=NAME", b"from a variable"),
        ("type=env,id=s,src=NAME", b"from a variable"),
        ("type=env,id=NAME", b"from a variable"),
        ("id=NAME", b"from a variable"),
    ],
)
def test_a_secret_is_read_from_a_file_or_a_variable(tmp_path, text, value):
    (tmp_path / "f").write_bytes(b"from a file\n")
    texts = [text.replace("FILE", str(tmp_path / "f"))]
    assert list(read_secrets(texts, {"NAME": "from a variable"}).values()) == [value]


def test_a_secret_without_a_source_is_the_file_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "s").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert read_secrets(["id=s"], {}) == {"s": b"x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src=/f", "has no id"),
        ("id=s,file=/f", '"file" is not understood'),
        ("id=s,type=vault", '"vault" is neither file nor env'),
        ("id=s,env=NOT_SET", 'there is no variable "NOT_SET"'),
        ("id=s,src=/no/such/file", 'cannot read "/no/such/file": no such file or directory'),
    ],
)
def test_refusals_say_what_is_wrong(text, message):
    with pytest.raises(UsageError) as caught:
        read_secrets([text], {})
    assert message in str(caught.value)


def test_attack_a_value_given_by_mistake_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        read_secrets(["id=s,value=hunter2"], {})
    assert "hunter2" not in str(caught.value)


def test_a_file_too_large_to_be_a_secret_is_refused(tmp_path):
    (tmp_path / "f").write_bytes(bytes(MAX_SECRET_BYTES + 1))
    with pytest.raises(UsageError):
        read_secrets([f"id=s,src={tmp_path / 'f'}"], {})


def test_an_agent_is_the_environments_or_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_agents(["default"], {"SSH_AUTH_SOCK": "/a"}) == {"default": (Path("/a"),)}
    assert find_agents(["other=agent"], {}) == {"other": (tmp_path / "agent",)}


def test_an_agent_may_be_several_keys():
    assert find_agents(["default=/k1,/k2"], {}) == {"default": (Path("/k1"), Path("/k2"))}


def test_an_agent_that_the_environment_does_not_have_is_refused():
    with pytest.raises(UsageError, match="SSH_AUTH_SOCK is not set"):
        find_agents(["default"], {})
