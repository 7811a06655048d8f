import json
import re
from pathlib import Path

import pytest

from wcbuild.graph.ops import Device
from wcbuild.solve.devices import Additions, DeviceError, Devices

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
    return Devices([folder], None).find(devices)


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
    assert Devices(folders, None).find([Device(name="v.com/c=a")]).env == ("A=run",)


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


# -- several devices, and which are allowed


@pytest.fixture
def several(tmp_path):
    """Devices of one class: two with a label, and one that every build may have."""
    free = "org.mobyproject.buildkit.device.autoallow"
    label = "org.mobyproject.buildkit.device.class"
    text = "kind: v.com/c\nannotations:\n  " + label + ": fast\ndevices:\n"
    for name, annotations in {
        "b": "",
        "a": "",
        "free": f"{free}: true, {label}: slow",
        "shut": f"{free}: 'no', {label}: ''",
    }.items():
        text += f"- name: {name}\n  annotations: {{{annotations}}}\n"
        text += f"  containerEdits:\n    env: [{name}=1]\n"
    (tmp_path / "v.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("v.com/c", ("a=1",)),
        ("v.com/c=*", ("a=1", "b=1", "free=1", "shut=1")),
        ("fast", ("a=1", "b=1")),
        ("slow", ("free=1",)),
        ("v.com/d=*", ()),
        ("*", ()),
    ],
)
def test_a_name_means_one_device_or_a_class_or_those_of_a_label(several, name, env):
    assert find(several, Device(name=name)).env == env


@pytest.mark.parametrize(
    ("allowed", "name"),
    [
        ({}, "v.com/c=free"),
        ({}, "slow"),
        ({"v.com/c=a": "v.com/c=a"}, "v.com/c=a"),
        ({"v.com/c=a": "v.com/c=a"}, "v.com/c"),
        ({"fast": "fast"}, "v.com/c=b"),
        ({"mine": "v.com/c=b"}, "mine"),
        ({"v.com/c=*": "v.com/c=*"}, "fast"),
        ({}, "v.com/c=missing"),
    ],
)
def test_a_device_is_allowed_by_name_or_by_its_specification(several, allowed, name):
    devices = Devices([several], allowed)
    devices.check([Device(name=name)])
    assert devices.find([Device(name=name)]) == find(several, Device(name=allowed.get(name, name)))


@pytest.mark.parametrize(
    ("allowed", "name", "refused"),
    [
        ({}, "v.com/c=a", "v.com/c=a"),
        ({}, "v.com/c=shut", "v.com/c=shut"),
        ({"v.com/c=a": "v.com/c=a"}, "v.com/c=*", "v.com/c=b"),
        ({"v.com/c": "v.com/c"}, "v.com/c=b", "v.com/c=b"),
        ({"mine": "v.com/c=b"}, "fast", "v.com/c=a"),
    ],
)
def test_other_devices_are_refused(several, allowed, name, refused):
    devices = Devices([several], allowed)
    for use in (devices.check, devices.find):
        with pytest.raises(DeviceError, match=f"--allow device={re.escape(refused)}$") as caught:
            use([Device(name=name)])
        assert caught.value.word == name
