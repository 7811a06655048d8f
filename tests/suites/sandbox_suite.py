"""What every way to run a command must do. A test file imports this and has a fixture `sandbox`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from processes import until


def owners(path: Path) -> dict[str, int]:
    return {str(entry.relative_to(path)): entry.lstat().st_uid for entry in path.rglob("*")}


# -- how a command ends


def test_reports_exit_status(sandbox):
    assert sandbox.sh("exit 0").code == 0
    assert sandbox.sh("exit 42").code == 42


def test_reports_signal_as_shells_do(sandbox):
    ended = sandbox.sh("sh -c 'kill -9 $$'; exit $?")
    assert ended.code == 137


def test_keeps_stdout_and_stderr_apart(sandbox):
    ended = sandbox.sh("echo out; echo err >&2")
    assert (ended.out, ended.err) == ("out\n", "err\n")


def test_unknown_command_is_127(sandbox):
    ended = sandbox.run("nosuch")
    assert ended.code == 127
    assert ended.err == 'exec: "nosuch": executable file not found in $PATH\n'


def test_missing_path_is_127(sandbox):
    ended = sandbox.run("/bin/nosuch")
    assert ended.code == 127
    assert ended.err == 'exec: "/bin/nosuch": no such file or directory\n'


def test_command_that_may_not_be_run_is_126(sandbox):
    ended = sandbox.run("/etc/passwd")
    assert ended.code == 126
    assert ended.err == 'exec: "/etc/passwd": permission denied\n'


def test_script_with_missing_interpreter_is_127(sandbox):
    root = sandbox.root()
    sandbox.sh("printf '#!/nosuch\\n' > /script; chmod +x /script", root=root)
    ended = sandbox.run("/script", root=root)
    assert ended.code == 127
    assert "interpreter" in ended.err


def test_damaged_program_is_126(sandbox):
    root = sandbox.root()
    sandbox.sh("printf '\\177ELFnonsense' > /program; chmod +x /program", root=root)
    ended = sandbox.run("/program", root=root)
    assert ended.code == 126
    assert f"exec format error (it is not for {os.uname().machine}, and no script" in ended.err


def test_finds_commands_by_the_path_of_the_step(sandbox):
    root = sandbox.root()
    sandbox.sh(
        "mkdir /opt; printf '#!/bin/sh\\necho tool\\n' > /opt/tool; chmod +x /opt/tool", root=root
    )
    assert sandbox.run("tool", root=root).code == 127
    assert sandbox.run("tool", root=root, env=("PATH=/bin:/opt",)).out == "tool\n"


def test_cancel_kills(sandbox):
    root = sandbox.root()
    number = sandbox.start("/bin/sh", "-c", "touch /begun; exec sleep 600", root=root)
    assert until((Path(root["upper"]) / "begun").exists)
    sandbox.cancel(number)
    ended = sandbox.wait(number)
    assert (ended.code, ended.signal) == (137, 9)


def test_runs_several_at_once(sandbox):
    """Each ends when all have begun, or says that the others did not come."""
    mounts = ({"target": "/meeting", "source": str(sandbox.folder())},)
    script = (
        "touch /meeting/{0}; n=0; while [ $(ls /meeting | wc -l) != 8 ]; do"
        " n=$((n+1)); [ $n -lt 1200 ] || exit 1; sleep 0.1; done; echo {0}"
    )
    numbers = [
        sandbox.start("/bin/sh", "-c", script.format(number), mounts=mounts) for number in range(8)
    ]
    assert [sandbox.wait(number).out for number in numbers] == [f"{i}\n" for i in range(8)]


def test_output_of_any_size_arrives(sandbox):
    ended = sandbox.sh("dd if=/dev/zero bs=1M count=4 2>/dev/null | tr '\\0' x; echo end >&2")
    assert len(ended.out) == 4 << 20
    assert ended.err == "end\n"


# -- what a command sees


def test_environment_is_exactly_the_given_one_and_home(sandbox):
    ended = sandbox.run("/bin/env", env=("A=1", "B=two words", "A=3", "no-equals", "EMPTY="))
    assert sorted(ended.out.splitlines()) == ["A=3", "B=two words", "EMPTY=", "HOME=/root"]


def test_given_home_wins(sandbox):
    assert sandbox.sh("echo $HOME", env=("HOME=/elsewhere",)).out == "/elsewhere\n"


def test_stdin_is_empty(sandbox):
    assert sandbox.sh("cat; readlink /proc/self/fd/0").out == "/dev/null\n"


def test_only_three_descriptors_are_open(sandbox):
    ended = sandbox.sh(
        "for n in 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do test -e /proc/$$/fd/$n && echo $n; done"
    )
    assert ended.out == ""


def test_command_is_process_one(sandbox):
    ended = sandbox.sh("echo $$; ls -d /proc/[0-9]* | wc -l")
    pid, processes = ended.out.split()
    assert pid == "1"
    assert int(processes) <= 3


def test_signal_dispositions_are_the_default_ones(sandbox):
    ended = sandbox.run("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    assert ended.out.split()[1::2] == ["0" * 16] * 2


def test_umask_is_022(sandbox):
    assert sandbox.sh("umask").out == "0022\n"


def test_hostname(sandbox):
    assert sandbox.run("hostname").out == "buildkitsandbox\n"
    assert sandbox.run("hostname", hostname="other").out == "other\n"


def test_working_directory_is_created_and_stays(sandbox):
    root = sandbox.root()
    assert sandbox.run("pwd", root=root, cwd="/a/b").out == "/a/b\n"
    assert (Path(root["upper"]) / "a/b").is_dir()
    assert (Path(root["upper"]) / "a/b").stat().st_mode & 0o7777 == 0o755


def test_working_directory_that_is_made_is_of_the_user(sandbox):
    ended = sandbox.run("stat", "-c", "%u:%g %n", "/made", "/made/x", user="5:6", cwd="/made/x")
    assert ended.out == "5:6 /made\n5:6 /made/x\n"


def test_working_directory_may_lead_through_links(sandbox):
    root = sandbox.root()
    sandbox.sh("mkdir -p /data/x; ln -s /data /link", root=root)
    assert sandbox.sh("/bin/pwd -P", root=root, cwd="/link/x/../x").out == "/data/x\n"


def test_working_directory_that_is_a_file_is_refused(sandbox):
    ended = sandbox.run("true", cwd="/etc/passwd")
    assert 'working directory "/etc/passwd": not a directory' in ended.error


def test_devices_work(sandbox):
    ended = sandbox.sh(
        "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && "
        "head -c 4 /dev/random | wc -c && (echo > /dev/full) 2>&1 | grep -c space; "
        "ls /dev; for link in fd stdin stdout stderr ptmx; do readlink /dev/$link; done"
    )
    lines = ended.out.split()
    assert lines[:4] == ["4", "4", "4", "1"]
    nodes = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert set(lines[4:-5]) >= set(nodes.split())
    assert lines[-5:] == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ]


def test_devices_and_streams_work_for_other_users(sandbox):
    ended = sandbox.sh(
        "echo x > /dev/null && head -c 4 /dev/urandom | wc -c && echo a > /dev/stdout && echo b > /dev/stderr; "
        "echo c > /dev/shm/x && cat /dev/shm/x",
        user="1000",
    )
    assert (ended.out, ended.err) == ("4\na\nc\n", "b\n")


def test_shm_has_the_given_size(sandbox):
    ended = sandbox.sh("df -k /dev/shm | tail -n 1 | awk '{print $2}'", shm_size=8 << 20)
    assert ended.out == "8192\n"


def test_terminals_can_be_made(sandbox):
    assert sandbox.sh("ls /dev/pts").out == "ptmx\n"


def test_nothing_of_the_host_is_mounted(sandbox):
    ended = sandbox.sh("cat /proc/self/mountinfo")
    places = [line.split()[4] for line in ended.out.splitlines()]
    allowed = ("/dev", "/proc", "/sys", "/etc/resolv.conf", "/etc/hosts")
    assert [place for place in places if place != "/" and not place.startswith(allowed)] == []
    assert places.count("/") == 1
    assert str(sandbox.directory) not in ended.out


def test_proc_is_of_the_sandbox(sandbox):
    assert sandbox.sh("cat /proc/1/cmdline | tr '\\0' ' '").out.startswith("/bin/sh -c")


def test_sys_is_read_only(sandbox):
    ended = sandbox.sh("ls /sys/kernel > /dev/null && echo seen; echo 1 > /sys/kernel/profiling")
    assert ended.out == "seen\n"
    assert ended.code != 0


def test_hosts_and_resolver(sandbox):
    ended = sandbox.sh("cat /etc/hosts /etc/resolv.conf", hosts=(("example.test", "10.1.2.3"),))
    assert ended.out.splitlines()[:3] == [
        "127.0.0.1\tlocalhost buildkitsandbox",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "10.1.2.3\texample.test",
    ]
    assert ended.out.splitlines()[3:] == Path("/etc/resolv.conf").read_text().splitlines()
    assert sandbox.sh("echo x >> /etc/hosts").code != 0


def test_no_network_is_a_loopback_alone(sandbox):
    ended = sandbox.sh("ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1", network="none")
    assert ended.out.split() == ["lo", "1"]


def test_default_network_is_the_hosts(sandbox):
    mine = sandbox.sh("readlink /proc/self/ns/net").out.strip()
    assert mine == os.readlink("/proc/self/ns/net")


def test_limits_on_resources(sandbox):
    ended = sandbox.sh("ulimit -n; ulimit -c", ulimits=(("nofile", 100, 100), ("core", 0, 0)))
    assert ended.out.split() == ["100", "0"]


def test_unknown_limit_is_refused(sandbox):
    assert "no limit named nosuch" in sandbox.run("true", ulimits=(("nosuch", 1, 1),)).error


def test_terminal_controls_the_command(sandbox):
    script = "echo ready; read line < /dev/tty; echo got $line"
    ended = sandbox.attach("/bin/sh", "-c", script, typed="hello\n")
    assert ended.code == 0
    assert "got hello" in ended.out


def test_interrupt_on_the_terminal_reaches_the_command(sandbox):
    ended = sandbox.attach("/bin/sh", "-c", "echo ready; sleep 100; echo after $?", typed="\x03")
    assert ended.code == 130  # the shell ends as what it waited for did


# -- users


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "uid=0(root) gid=0(root) groups=0(root),10(wheel)"),
        ("0", "uid=0(root) gid=0(root) groups=0(root),10(wheel)"),
        ("app", "uid=1000(app) gid=1001(app) groups=10(wheel),29(audio),1001(app)"),
        ("1000", "uid=1000(app) gid=1001(app) groups=10(wheel),29(audio),1001(app)"),
        ("1000:29", "uid=1000(app) gid=29(audio) groups=29(audio)"),
        ("app:audio", "uid=1000(app) gid=29(audio) groups=29(audio)"),
        ("2000", "uid=2000 gid=0(root) groups=0(root)"),
        ("0:0", "uid=0(root) gid=0(root) groups=0(root)"),
    ],
)
def test_users(sandbox, user, ids):
    ended = sandbox.run("id", user=user)
    if sandbox.kind == "single":  # supplementary groups cannot be had
        ids, ended_ids = ids.partition(" groups")[0], ended.out.partition(" groups")[0].strip()
        assert ended_ids == ids
    else:
        assert ended.out == f"{ids}\n"


def test_home_is_of_the_user(sandbox):
    assert sandbox.sh("echo $HOME", user="app").out == "/home/app\n"
    assert sandbox.sh("echo $HOME", user="2000").out == "/\n"


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nosuch", "unable to find group nosuch: no matching entries in group file"),
    ],
)
def test_unknown_names_are_refused(sandbox, user, message):
    assert message in sandbox.run("true", user=user).error


def test_files_belong_to_who_makes_them(sandbox):
    root = sandbox.root()
    sandbox.sh("mkdir -m 777 /d; echo > /by-root", root=root)
    sandbox.sh("echo > /d/by-app", root=root, user="app")
    listed = sandbox.sh("stat -c %u:%g /by-root /d/by-app", root=root).out.split()
    assert listed == (["0:0", "0:0"] if sandbox.kind == "single" else ["0:0", "1000:1001"])


# -- changes and no other traces


@pytest.mark.parametrize("plain", [False, True], ids=["overlay", "directory"])
def test_leaves_no_trace_in_the_root(sandbox, plain):
    root = sandbox.root(plain=plain)
    upper = Path(root["upper"])

    def look() -> dict[str, tuple[int, int]]:
        return {
            str(p): (p.lstat().st_mode, p.lstat().st_mtime_ns) for p in (upper, *upper.rglob("*"))
        }

    before = look()
    ended = sandbox.sh(
        "cat /etc/resolv.conf /etc/hosts /x/deep/file /script > /dev/null; ls /x/deep/directory; echo secret > /dev/note",
        root=root,
        mounts=(
            {"target": "/x/deep/directory"},
            {"target": "/x/deep/file", "source": "/etc/hostname", "read_only": True},
        ),
        files=(("/script", "text", 0o755),),
    )
    assert (ended.code, ended.err) == (0, "")
    after = look()
    if not plain:
        # The kernel copies /etc up for the mount points; it is as it was.
        etc = after.pop(str(upper / "etc"))
        assert etc == (
            (sandbox.base / "etc").stat().st_mode,
            (sandbox.base / "etc").stat().st_mtime_ns,
        )
    assert after == before


def test_what_a_command_puts_beside_a_mount_point_stays(sandbox):
    root = sandbox.root()
    sandbox.sh("echo > /run/kept", root=root, mounts=({"target": "/run/secrets"},))
    assert [path.name for path in Path(root["upper"]).rglob("*")].count("kept") == 1
    assert not (Path(root["upper"]) / "run/secrets").exists()


def test_mount_points_that_exist_are_used_and_stay(sandbox):
    root = sandbox.root()
    sandbox.sh("mkdir -p /proc2 /data; echo kept > /data/file", root=root)
    ended = sandbox.sh("ls /data", root=root, mounts=({"target": "/data"},))
    assert ended.out == ""
    assert (Path(root["upper"]) / "data/file").read_text() == "kept\n"


def test_changes_are_in_the_upper_directory(sandbox):
    root = sandbox.root()
    sandbox.sh("echo new > /file; rm /etc/group; mkdir -p /d/e", root=root)
    upper = Path(root["upper"])
    assert (upper / "file").read_text() == "new\n"
    assert (upper / "d/e").is_dir()
    assert (sandbox.base / "etc/group").exists()


def test_many_layers(sandbox):
    layers = []
    for number in range(150):
        layer = sandbox.directory / f"layer-with-a-rather-long-name-{number}"
        if not layer.exists():
            layer.mkdir()
            (layer / f"f{number}").write_text(str(number))
            sandbox.own(layer)
        layers.append(str(layer))
    root = sandbox.root()
    root["lower"] = [*reversed(layers), str(sandbox.base)]
    assert sandbox.sh("ls / | grep -c '^f[0-9]'", root=root).out == "150\n"


def test_root_without_upper_is_read_only(sandbox):
    ended = sandbox.sh("echo x > /file", root={"lower": [str(sandbox.base)]}, cwd="/made")
    assert ended.code != 0
    assert "Read-only" in ended.err
    assert not (sandbox.base / "made").exists()


def test_read_only_root(sandbox):
    ended = sandbox.sh("echo x > /file", read_only_root=True)
    assert "Read-only" in ended.err
    assert sandbox.sh("echo x > /dev/shm/file", read_only_root=True).code == 0


# -- mounts


def test_mounts_directories_and_files(sandbox, tmp_path_factory):
    shared = sandbox.directory / "shared"
    if not shared.exists():
        shared.mkdir()
        (shared / "file").write_text("content\n")
        sandbox.own(shared)
    ended = sandbox.sh(
        "cat /mnt/d/file /mnt/f; echo new > /mnt/d/new; echo x > /mnt/r/new; echo x > /mnt/f",
        mounts=(
            {"target": "/mnt/d", "source": str(shared)},
            {"target": "/mnt/r", "source": str(shared), "read_only": True},
            {"target": "/mnt/f", "source": str(shared / "file"), "read_only": True},
        ),
    )
    assert ended.out == "content\ncontent\n"
    assert ended.err.count("Read-only") == 2
    assert (shared / "new").read_text() == "new\n"
    assert (shared / "file").read_text() == "content\n"


def test_mounts_tmpfs_of_a_size(sandbox):
    ended = sandbox.sh(
        "df -k /t | tail -n 1 | awk '{print $2}'; stat -c %a /t",
        mounts=({"target": "/t", "size": 1 << 20, "mode": 0o700},),
    )
    assert ended.out.split() == ["1024", "700"]


def test_a_tmpfs_has_the_mode_of_what_it_covers(sandbox):
    mounts = ({"target": "/covered"}, {"target": "/fresh"})
    root = sandbox.root()
    sandbox.sh("mkdir -m 750 /covered", root=root)
    ended = sandbox.sh("stat -c %a /covered /fresh", root=root, mounts=mounts)
    assert ended.out == "750\n1777\n"


def test_mounts_may_cover_our_own_files(sandbox):
    folder = sandbox.directory / "etc"
    if not folder.exists():
        folder.mkdir()
        (folder / "hosts").write_text("mine\n")
        sandbox.own(folder)
    mounts = ({"source": str(folder / "hosts"), "target": "/etc/hosts"},)
    assert sandbox.sh("cat /etc/hosts", mounts=mounts).out == "mine\n"
    mounts = ({"source": str(folder), "target": "/etc", "read_only": True},)
    assert sandbox.sh("ls /etc", mounts=mounts).out == "hosts\n"


def test_mount_over_a_file_needs_a_file(sandbox):
    ended = sandbox.run("true", mounts=({"target": "/etc/passwd"},))
    assert 'mount "/etc/passwd": not a directory' in ended.error


def test_mount_into_proc_is_refused(sandbox):
    ended = sandbox.run("true", mounts=({"target": "/proc/sys"},))
    assert "leads into /proc or /sys" in ended.error


def test_mounts_a_path_in_a_directory_that_others_write_to(sandbox):
    folder = sandbox.folder()
    (folder / "in").mkdir()
    (folder / "in" / "file").write_text("here")
    (folder / "link").symlink_to("/in")
    (folder / "out").symlink_to(folder / "in")
    sandbox.own(folder)
    mount = {"target": "/m", "source": str(folder)}
    assert sandbox.sh("ls /m", mounts=(mount | {"inside": "link"},)).out == "file\n"
    assert sandbox.sh("cat /m", mounts=(mount | {"inside": "../in/file"},)).out == "here"
    for inside in ("out", "missing", "in/file/x"):
        assert (
            f'mount source "/{inside}"'
            in sandbox.run("true", mounts=(mount | {"inside": inside},)).error
        )


@pytest.mark.parametrize(
    "options", [{"env": ("A=x\0y",)}, {"user": "u\0"}, {"user": "u" * 100_000}]
)
def test_what_no_command_can_have_is_an_error(sandbox, options):
    ended = sandbox.run("true", **options)
    assert ended.error.startswith("sandbox: ")
    assert "Error(" not in ended.error
    assert "zero byte" in sandbox.run("echo", "x\0y").error


def test_missing_source_is_an_error(sandbox):
    ended = sandbox.run("true", mounts=({"target": "/x", "source": "/nosuch/thing"},))
    assert 'mount "/x": no such file or directory' in ended.error


def test_files_appear_for_the_command_only(sandbox):
    root = sandbox.root()
    ended = sandbox.run(
        "/dev/pipes/EOF", root=root, files=(("/dev/pipes/EOF", "#!/bin/sh\necho ran\n", 0o755),)
    )
    assert ended.out == "ran\n"
    assert [path.name for path in Path(root["upper"]).iterdir()] in ([], ["etc"])


def test_insecure_sees_the_devices_of_machines_and_file_systems(sandbox):
    names = [name for name in ("fuse", "loop-control", "loop0") if os.path.exists(f"/dev/{name}")]
    listed = "cd /dev; for name in fuse loop-control loop0; do test -e $name && echo $name; done"
    assert sandbox.sh(listed, insecure=True).out.split() == names
    assert sandbox.sh(listed).out == ""


def test_insecure_has_all_capabilities_and_no_filter(sandbox):
    ended = sandbox.sh(
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && echo mounted",
        insecure=True,
    )
    lines = ended.out.split()
    assert int(lines[1], 16) & (1 << 21), "CAP_SYS_ADMIN"
    assert lines[3] == ("2" if sandbox.kind == "single" else "0")
    assert lines[4] == "mounted"
