import json
from pathlib import Path

import pytest

from wcbuild.graph.ops import Device
from wcbuild.solve.devices import Additions, DeviceError, find_devices

SPECIFICATION = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/class",
    "containerEdits": {"env": ["COMMON=1"]},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["ONE=1"],
                "deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/zero", "permissions": "r"}],
                "mounts": [
                    {
                        "hostPath": "/usr/lib/one.so",
                        "containerPath": "/lib/one.so",
                        "options": ["ro"],
                    }
                ],
            },
        },
        {"name": "two", "containerEdits": {"deviceNodes": [{"path": "/dev/two"}]}},
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vendor.json").write_text(json.dumps(SPECIFICATION))
    (tmp_path / "README").write_text("not a specification")
    return tmp_path


def find(folder, *devices):
    return find_devices(devices, [folder])


def test_a_device_brings_nodes_mounts_and_variables(folder):
    found = find(folder, Device(name="vendor.com/class=one"))
    assert found.env == ("COMMON=1", "ONE=1")
    node, library = found.mounts
    assert (node.target, node.source, node.device, node.read_only) == (
        "/dev/one",
        Path("/dev/zero"),
        True,
        True,
    )
    assert (library.target, library.device, library.read_only) == ("/lib/one.so", False, True)


def test_a_node_is_where_the_machine_has_it_unless_it_says_otherwise(folder):
    [node] = find(folder, Device(name="vendor.com/class=two")).mounts
    assert (node.target, node.source, node.read_only) == ("/dev/two", Path("/dev/two"), False)


def test_a_class_alone_is_any_of_its_devices(folder):
    assert find(folder, Device(name="vendor.com/class")).mounts[0].target == "/dev/one"


def test_what_two_devices_share_comes_once(folder):
    names = ("vendor.com/class=one", "vendor.com/class=two")
    assert find(folder, *(Device(name=name) for name in names)).env == ("COMMON=1", "ONE=1")


def test_a_device_that_is_not_there_is_left_out_unless_it_is_required(folder):
    assert find(folder, Device(name="vendor.com/class=on")) == Additions()
    with pytest.raises(DeviceError, match=r'did you mean "vendor\.com/class=one"'):
        find(folder, Device(name="vendor.com/class=on", required=True))


def test_reads_yaml(tmp_path):
    text = "kind: v.com/c\ndevices:\n- name: a\n  containerEdits:\n    env: [A=1]\n"
    (tmp_path / "v.yaml").write_text(text)
    assert find(tmp_path, Device(name="v.com/c=a")).env == ("A=1",)


def test_a_later_folder_goes_before_an_earlier_one(tmp_path):
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
        data = {
            "kind": "v.com/c",
            "devices": [{"name": "a", "containerEdits": {"env": [f"A={name}"]}}],
        }
        (tmp_path / name / "v.json").write_text(json.dumps(data))
    folders = [tmp_path / "etc", tmp_path / "run", tmp_path / "missing"]
    assert find_devices([Device(name="v.com/c=a")], folders).env == ("A=run",)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"devices": [{"name": "a"}]}', '{"kind": "v.com/c", "devices": 1}', "\x00"]
)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_refuses_what_is_no_specification(tmp_path, text, suffix):
    (tmp_path / f"v.{suffix}").write_text(text)
    with pytest.raises(DeviceError, match=f"v.{suffix}"):
        find(tmp_path, Device(name="v.com/c=a"))


def test_refuses_what_it_would_have_to_run_on_the_machine(tmp_path):
    edits = {"hooks": [{"hookName": "createContainer", "path": "/usr/bin/ldconfig"}]}
    data = {"kind": "v.com/c", "devices": [{"name": "a", "containerEdits": edits}]}
    (tmp_path / "v.json").write_text(json.dumps(data))
    with pytest.raises(DeviceError, match='asks for "hooks"'):
        find(tmp_path, Device(name="v.com/c=a"))


def test_nothing_is_read_where_no_device_is_wanted(tmp_path):
    (tmp_path / "v.json").write_text("{")
    assert find(tmp_path) == Additions()
