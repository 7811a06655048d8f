"""The overlay snapshotter, as root and as the root of a user namespace; and both against each other."""

from __future__ import annotations

import json

import pytest
import snapshotter_suite as suite

IDENTITIES = [
    pytest.param("root", marks=pytest.mark.root),
    pytest.param("userns", marks=pytest.mark.userns),
]


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize("name", suite.CASES)
def test_overlay(name, kind, suite_results):
    failure = suite_results("overlay", kind).get(name)
    assert failure is None, failure


@pytest.mark.slow
@pytest.mark.userns
@pytest.mark.parametrize("name", sorted(suite.PRIVILEGED))
def test_copying_in_a_user_namespace(name, suite_results):
    failure = suite_results("copying", "userns").get(name)
    assert failure is None, failure


SAME_BYTES = """
import hashlib, json, pathlib
import snapshotter_suite as suite
from wcbuild.layer.pack import pack
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter

class Nowhere:
    def write(self, data):
        pass

result = {}
for make in (CopyingSnapshotter, OverlaySnapshotter):
    root = pathlib.Path(sys.argv[4], make.name)
    root.mkdir()
    snapshots = make(root)
    for name, function in suite.COMMANDS.items():
        changes = suite.run_command(snapshots, function)
        packed = pack(changes, Nowhere(), epoch=suite.OLD + 1)
        result.setdefault(name, []).append(packed.diff_id)
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", IDENTITIES)
def test_both_snapshotters_give_the_same_bytes(kind, in_namespaces, tmp_path):
    """Where overlays cannot be mounted, a copying snapshotter gives the same image."""
    results = json.loads(in_namespaces(kind, SAME_BYTES, str(tmp_path)))
    assert len(results) == len(suite.COMMANDS)
    assert {name for name, (copied, overlaid) in results.items() if copied != overlaid} == set()


RANDOM = """
import pathlib
import snapshotter_fuzz as fuzz
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter
stores = pathlib.Path(sys.argv[4])
for seed in range(int(sys.argv[5])):
    found = []
    for make in (CopyingSnapshotter, OverlaySnapshotter):
        snapshots = make(stores)
        found.append(fuzz.run(snapshots, seed))
        snapshots.prune(frozenset())
    assert found[0] == found[1], f"seed {seed}: {found}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", IDENTITIES)
def test_parent_and_changes_make_the_child_whatever_was_done(kind, in_namespaces, tmp_path):
    in_namespaces(kind, RANDOM, str(tmp_path), "30")


MANY_LAYERS = """
import pathlib
from wcbuild.snapshot.overlay import OverlaySnapshotter
snapshots = OverlaySnapshotter(pathlib.Path(sys.argv[4]))
snapshot = None
for number in range(200):
    snapshot = snapshots.prepare(snapshot)
    (snapshots.fs(snapshot.id) / str(number)).touch()
with snapshots.mounted(snapshot) as root:
    print(len(os.listdir(root)))
    os.unlink(root / "0")
print(sorted(change.path for change in snapshots.changes(snapshot)))
"""


@pytest.mark.parametrize("kind", IDENTITIES)
def test_two_hundred_layers_in_a_store_with_an_odd_path(kind, in_namespaces, tmp_path):
    place = tmp_path / ("a:b,c\\d " + "long" * 50)
    place.mkdir()
    lines = in_namespaces(kind, MANY_LAYERS, str(place)).splitlines()
    assert lines == ["200", "['0', '199']"]


HARD_LINKS = """
import pathlib
import snapshotter_suite as suite
from wcbuild.snapshot.overlay import OverlaySnapshotter
snapshots = OverlaySnapshotter(pathlib.Path(sys.argv[4]))
print(suite.describe(suite.run_command(snapshots, lambda root: os.chmod(root / "usr/one", 0o600))))
"""


@pytest.mark.parametrize("kind", IDENTITIES)
def test_writing_to_one_hard_link_of_a_layer_leaves_the_other_alone(kind, in_namespaces, tmp_path):
    """As every overlay does; the copying snapshotter changes both."""
    printed = in_namespaces(kind, HARD_LINKS, str(tmp_path))
    assert printed == "{'usr': 'd 755', 'usr/one': 'f 600 linked'}\n"


DEVICES = """
import pathlib, stat
import snapshotter_suite as suite
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter
def make(root):
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(root / "disk", 0o600 | stat.S_IFBLK, os.makedev(259, 1048575))
    os.chown(root / "etc", 12, 34)
    os.chown(root / "bin/sh", 0, 4294967294)
for snapshots in (CopyingSnapshotter, OverlaySnapshotter):
    changes = suite.run_command(snapshots(pathlib.Path(sys.argv[4])), make)
    print(sorted((c.path, c.meta.kind, c.meta.uid, c.meta.gid, c.meta.major, c.meta.minor) for c in changes))
"""


@pytest.mark.root
def test_devices_and_owners(in_namespaces, tmp_path):
    expected = [
        ("bin", "d", 0, 0, 0, 0),
        ("bin/sh", "f", 0, 4294967294, 0, 0),
        ("disk", "b", 0, 0, 259, 1048575),
        ("etc", "d", 12, 34, 0, 0),
        ("null", "c", 0, 0, 1, 3),
    ]
    assert in_namespaces("root", DEVICES, str(tmp_path)) == f"{expected}\n" * 2


CHOOSE = """
import pathlib
from wcbuild import overlayfs
from wcbuild.sandbox.identity import Identity, IdentityKind
from wcbuild.snapshot import choose_snapshotter
from wcbuild.snapshot.overlay import usable
top = pathlib.Path(sys.argv[4])
root = Identity(kind=IdentityKind.ROOT)
print(choose_snapshotter(top, root).name, usable(top))
for name in ("lower", "upper", "work", "merged"):
    (top / name).mkdir()
overlayfs.mount(top / "merged", lower=[top / "lower"], upper=top / "upper", work=top / "work")
print(choose_snapshotter(top / "merged", root).name, usable(top / "merged"))
print(choose_snapshotter(top, Identity(kind=IdentityKind.NONE)).name)
print(sorted(path.name for path in (top / "snapshots").iterdir()))
"""


@pytest.mark.parametrize("kind", IDENTITIES)
def test_copies_are_chosen_where_overlays_cannot_be_mounted(kind, in_namespaces, tmp_path):
    """In a container whose own root is an overlay, its directories cannot be an upper one."""
    here, nested, without, _ = in_namespaces(kind, CHOOSE, str(tmp_path)).splitlines()
    assert here == "overlay None"
    name, _, reason = nested.partition(" ")
    assert (name, without) == ("copying", "copying")
    assert reason not in {"", "None"}


KILLED = """
import pathlib, time
from wcbuild.snapshot.overlay import OverlaySnapshotter
top = pathlib.Path(sys.argv[4])
snapshots = OverlaySnapshotter(top)
snapshot = snapshots.prepare(snapshots.prepare(None))
with snapshots.mounted(snapshot) as root:
    (root / "file").touch()
    (top / "ready").touch()
    os.kill(os.getpid(), 9)
"""
AFTER_KILL = """
import pathlib
from wcbuild.snapshot.overlay import OverlaySnapshotter
snapshots = OverlaySnapshotter(pathlib.Path(sys.argv[4]))
print(snapshots.sweep(), [os.listdir(snapshots.empty), os.listdir(snapshots.empty / "../by-chain")])
"""


@pytest.mark.parametrize("kind", IDENTITIES)
def test_nothing_is_left_of_a_process_that_was_killed(kind, in_namespaces, tmp_path):
    with pytest.raises(AssertionError):
        in_namespaces(kind, KILLED, str(tmp_path))
    assert (tmp_path / "ready").exists()
    with open("/proc/self/mounts") as file:
        assert str(tmp_path) not in file.read()
    assert in_namespaces(kind, AFTER_KILL, str(tmp_path)).endswith("[[], []]\n")
    assert len(list(tmp_path.glob("snapshots/*/*"))) == 2
