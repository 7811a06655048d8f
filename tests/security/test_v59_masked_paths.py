"""CVE-2017-16539, CVE-2018-10892, CVE-2023-25809: what /proc and /sys tell and take."""

import pytest

FILES = ("interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
DIRECTORIES = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)


@pytest.mark.parametrize("user", ["", "app"])
def test_masked_files_are_empty(sandbox, user):
    for name in FILES:
        ended = sandbox.sh(f"test ! -e /proc/{name} || cat /proc/{name}", user=user)
        assert (ended.code, ended.out) == (0, "")


def test_masked_directories_are_empty_and_take_nothing(sandbox):
    for path in DIRECTORIES:
        ended = sandbox.sh(f"test ! -e {path} || {{ ls -A {path}; touch {path}/x && echo made; }}")
        assert ended.out == ""


def test_settings_of_the_kernel_cannot_be_written(sandbox):
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/module/overlay/parameters/redirect_max",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/release_agent",
    ):
        ended = sandbox.sh(f"test -e {path} && echo x > {path} && echo WRITTEN")
        assert ended.out == "", path


def test_no_control_group_takes_anything(sandbox):
    ended = sandbox.sh(
        "find /sys/fs/cgroup -name cgroup.procs | while read f; do echo 0 > $f && echo WRITTEN; done;"
        "mkdir /sys/fs/cgroup/x && echo MADE"
    )
    assert ended.out == ""


def test_masks_stay(sandbox):
    ended = sandbox.sh(
        "umount /proc/keys; umount /proc; mount -o remount,rw /proc/sys; umount -l /sys; echo end"
    )
    assert ended.out == "end\n"
    assert ended.err.count("not permitted") + ended.err.count("permission denied") == 4
