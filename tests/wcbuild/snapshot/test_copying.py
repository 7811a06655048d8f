"""The copying snapshotter, which needs no privileges."""

from __future__ import annotations

import os
import time

import pytest
import snapshotter_suite as suite

from wcbuild.snapshot import diff
from wcbuild.snapshot.base import Snapshotter
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter, usable


@pytest.fixture
def snapshots(tmp_path):
    return CopyingSnapshotter(tmp_path)


def test_both_fulfil_the_protocol(tmp_path):
    copying: Snapshotter = CopyingSnapshotter(tmp_path)
    overlay: Snapshotter = OverlaySnapshotter(tmp_path)
    assert (copying.name, overlay.name) == ("copying", "overlay")


@pytest.mark.parametrize("name", suite.CASES)
def test_copying(name, snapshots):
    if name in suite.PRIVILEGED and os.geteuid() != 0:
        pytest.skip("only root may make this; the user namespace's root does in test_overlay.py")
    suite.CASES[name](snapshots)


def test_hard_links_of_the_parent_stay_one_file(snapshots):
    changes = suite.run_command(snapshots, lambda root: os.chmod(root / "usr/one", 0o600))
    assert suite.describe(changes) == {
        "usr": "d 755",
        "usr/one": "f 600 linked",
        "usr/two": "h usr/one",
    }


def test_reads_only_files_that_somebody_touched(snapshots, monkeypatch, tmp_path):
    child = snapshots.prepare(suite.two_layers(snapshots))
    # As if copying had taken longer than a tick of the kernel's clock, by which "touched" is told.
    time.sleep(0.02)
    (tmp_path / "marker").touch()
    finished_ns = (tmp_path / "marker").stat().st_ctime_ns
    snapshots._copied[child.id] = snapshots._copied[child.id]._replace(finished_ns=finished_ns)
    time.sleep(0.02)
    compared = []
    real = diff._same_content
    monkeypatch.setattr(diff, "_same_content", lambda *a: compared.append(a) or real(*a))
    with snapshots.mounted(child) as root:
        suite.write(root / "etc/conf.d/c", "c")
        suite.write(root / "etc/passwd", "toor", suite.OLD)
    expected = {"etc", "etc/conf.d", "etc/conf.d/c", "etc/passwd"}
    assert set(suite.describe(snapshots.changes(child))) == expected
    assert [path.rpartition("/fs/")[2] for _, path in compared] == ["etc/passwd"]


def test_sees_a_change_made_after_the_clock_was_set_back(snapshots):
    parent = suite.two_layers(snapshots)
    child = snapshots.prepare(parent)
    hour_ns = 3600 * 10**9
    copied = snapshots._copied[child.id]
    day_ns, steady_ns = copied.clocks_ns
    # As it would be if the clock had been an hour ahead until now.
    snapshots._copied[child.id] = copied._replace(
        finished_ns=copied.finished_ns + hour_ns, clocks_ns=(day_ns + hour_ns, steady_ns)
    )
    with snapshots.mounted(child) as root:
        suite.write(root / "etc/passwd", "toor", suite.OLD)
    assert suite.describe(snapshots.changes(child)) == {"etc": "d 755", "etc/passwd": "f 644 toor"}


def test_changes_are_found_without_knowing_how_the_copy_was_made(snapshots, tmp_path):
    child = snapshots.prepare(suite.two_layers(snapshots))
    with snapshots.mounted(child) as root:
        suite.write(root / "etc/passwd", "toor", suite.OLD)
    other_process = CopyingSnapshotter(tmp_path)
    found = suite.describe(other_process.changes(child))
    assert found == {"etc": "d 755", "etc/passwd": "f 644 toor"}


def test_parents_go_when_nothing_names_them(snapshots):
    first = suite.two_layers(snapshots)
    second = snapshots.prepare(first)
    snapshots.commit(second, suite.chain("a"))
    snapshots.sweep()
    assert not snapshots.fs(first.id).exists()
    with snapshots.mounted(snapshots.find(suite.chain("a"))) as root:
        assert (root / "bin/sh").exists()


def test_group_of_the_store_does_not_become_the_images(tmp_path):
    """A store inside of a directory with the setgid bit."""
    os.chmod(tmp_path, 0o2755)
    snapshots = CopyingSnapshotter(tmp_path)
    with snapshots.mounted(snapshots.prepare(None)) as root:
        assert os.stat(root).st_mode & 0o7777 == 0o755
        assert os.stat(root).st_gid == os.getegid()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may mount")
def test_overlays_are_not_usable_without_privileges(tmp_path):
    assert usable(tmp_path)


def test_overlays_are_tried_once_after_each_start_of_the_machine(tmp_path):
    overlays = OverlaySnapshotter(tmp_path)
    assert not overlays.was_tried()
    overlays.remember_tried()
    overlays.sweep()
    assert usable(tmp_path) is None
    restarted = OverlaySnapshotter(tmp_path)
    restarted._boot = "another"
    assert not restarted.was_tried()
