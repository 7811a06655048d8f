import json

import pytest

from registry.errors import InvalidDocumentError
from registry.oci.config import ContainerConfig, Healthcheck, History, ImageConfig
from registry.oci.digest import DiffId, sha256
from registry.oci.platform import Platform

FULL = ImageConfig(
    platform=Platform(os="linux", architecture="arm", variant="v7"),
    config=ContainerConfig(
        user="1000:1000",
        exposed_ports=("443/tcp", "80/tcp"),
        env=("PATH=/bin", "A=b=c"),
        entrypoint=("/init",),
        cmd=("-v",),
        volumes=("/data",),
        working_dir="/srv",
        labels={"a": "b"},
        stop_signal="SIGINT",
        args_escaped=True,
        healthcheck=Healthcheck(test=("CMD", "true"), interval=30_000_000_000, retries=2),
        on_build=("RUN x",),
        shell=("/bin/sh", "-c"),
    ),
    diff_ids=(DiffId(sha256(b"1")),),
    history=(History(created_by="FROM", comment="c"), History(created_by="ENV", empty_layer=True)),
    created="2024-01-02T03:04:05Z",
    author="somebody",
)


def test_writing_and_reading_keeps_every_field():
    assert ImageConfig.parse(FULL.encode()) == FULL


def test_the_same_value_gives_the_same_bytes():
    assert FULL.encode() == ImageConfig.parse(FULL.encode()).encode()


def test_empty_fields_are_left_out():
    data = json.loads(ImageConfig(platform=Platform(os="linux", architecture="amd64")).encode())
    assert data == {
        "architecture": "amd64",
        "config": {},
        "history": [],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"config": []},
        {"config": {"Env": "A=b"}},
        {"config": {"Env": [1]}},
        {"config": {"User": 1}},
        {"config": {"Volumes": ["/x"]}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"Healthcheck": {"Interval": "30s"}}},
        {"rootfs": 1},
        {"rootfs": {"diff_ids": ["sha256:../x"]}},
        {"rootfs": {"diff_ids": 3}},
        {"history": {}},
        {"history": [1]},
        {"created": 1},
    ],
)
def test_refuses_a_wrong_field(change):
    with pytest.raises(InvalidDocumentError):
        ImageConfig.parse(json.dumps(change).encode())
