r"""What a Dockerfile of a Windows image comes to, whatever machine builds it.

The tables are those of docker's classic builder (dispatchers_windows.go, copy_windows.go) and of BuildKit
(util/system/path_test.go): paths in steps are BuildKit's, without a drive, and those in configs docker's, `C:\x`.
"""

import pytest

from registry.errors import NotFoundError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile.lower import Options, ResolvedImage, lower
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import WcbuildError
from wcbuild.graph.ops import CopyOp, MkdirOp, RunOp

WINDOWS = Platform(os="windows", architecture="amd64")
LINUX = Platform(os="linux", architecture="amd64")
NOTHING = ContainerConfig()


class Bases:
    """Windows images, of which one has a config of its own."""

    def __init__(self, config):
        self.config = config

    def context(self, name, platform):
        return None

    def image(self, name, platform):
        if name != "base":
            raise NotFoundError(name, "these tests")
        platform = Platform(os="windows", architecture="amd64", os_version="10.0.20348.1")
        config = ImageConfig(platform=platform, config=self.config)
        return ResolvedImage(digest=sha256(name.encode()), config=config)


def lowered(lines, base=NOTHING, platform=WINDOWS):
    dockerfile = parse_dockerfile(f"# escape=`\nFROM base\n{lines}\n".encode(), file="Dockerfile")
    return lower(dockerfile, Options(platform=platform, build_platform=LINUX), Bases(base))


def last(lines, kind, **options):
    return [step.op for step in lowered(lines, **options).graph.steps if isinstance(step.op, kind)][
        -1
    ]


@pytest.mark.parametrize(
    ("path", "config", "below"),
    [
        ("a", r"C:\a", r"C:\a\bar"),
        (r"\foo", r"C:\foo", r"C:\foo\bar"),
        ("/foo", r"C:\foo", r"C:\foo\bar"),
        (r"c:\foo", r"C:\foo", r"C:\foo\bar"),
        ("C:/foo", r"C:\foo", r"C:\foo\bar"),
        ("C:/foo/", r"C:\foo", r"C:\foo\bar"),
        (r"C:foo", r"C:\foo", r"C:\foo\bar"),
        (r"c:\foo\..\x\.\y", r"C:\x\y", r"C:\x\y\bar"),
        (r"..\..\x", r"C:\x", r"C:\x\bar"),
        (r"a/b\c", r"C:\a\b\c", r"C:\a\b\c\bar"),
        ("\\", "C:\\", r"C:\bar"),
        ("c:\\", "C:\\", r"C:\bar"),
    ],
)
def test_working_directories_are_on_the_system_drive(path, config, below):
    assert lowered(f"WORKDIR {path}").plan.config.working_dir == config
    result = lowered(f"WORKDIR {path}\nWORKDIR bar")
    assert result.plan.config.working_dir == below
    assert result.graph.steps[-1].op.path == below[2:].replace("\\", "/")


def test_the_root_of_the_drive_needs_no_step():
    result = lowered("WORKDIR \\")
    assert not [step for step in result.graph.steps if isinstance(step.op, MkdirOp)]


@pytest.mark.parametrize("config", [r"C:\base", r"c:\base", r"\base", "/base"])
def test_a_base_may_spell_its_working_directory_as_it_likes(config):
    base = ContainerConfig(working_dir=config)
    assert lowered("LABEL a=b", base).plan.config.working_dir == config
    assert lowered("WORKDIR x", base).plan.config.working_dir == r"C:\base\x"


@pytest.mark.parametrize(
    ("dest", "expected"),
    [
        (r"\Deapp", "/Deapp"),
        ("C:\\Deapp\\", "/Deapp/"),
        ("c:/Deapp/", "/Deapp/"),
        ("Deapp", "/work/Deapp"),
        (r"C:Deapp", "/work/Deapp"),
        ("Deapp\\", "/work/Deapp/"),
        (".", "/work/"),
        (".\\", "/work/"),
        (r"..\x", "/x"),
        ("\\", "/"),
        ("C:\\", "/"),
        ("/", "/"),
    ],
)
def test_destinations_say_whether_they_are_directories(dest, expected):
    assert last(f"WORKDIR \\work\nCOPY a {dest}", CopyOp).dest == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("bin\\Debug\\", "bin/Debug"),
        ("bin/Debug", "bin/Debug"),
        (r".\bin", "bin"),
        (r"..\..\bin", "bin"),
        (r"\bin", "bin"),
        (r"C:\bin", "bin"),
        (r"bin\*.dll", "bin/*.dll"),
        (".", ""),
    ],
)
def test_sources_have_slashes_of_both_kinds(source, expected):
    assert last(f"COPY {source} /x/", CopyOp).sources == (expected,)
    assert last(f'COPY ["{source.replace(chr(92), chr(92) * 2)}", "/x/"]', CopyOp).sources == (
        expected,
    )


def test_what_is_excluded_has_slashes_of_both_kinds():
    assert last(r"COPY --exclude=obj\**\*.pdb . \x", CopyOp).exclude == ("obj/**/*.pdb",)


NETWORK = "network and device paths are not supported"


@pytest.mark.parametrize(
    ("line", "word", "reason"),
    [
        ("WORKDIR c:", "c:", r'has no path after the drive; its root is "C:\"'),
        (r"WORKDIR d:\x", r"d:\x", "is not on the system drive (C:)"),
        (r"COPY a D:\x", r"D:\x", "is not on the system drive (C:)"),
        (r"COPY D:\x \x", r"D:\x", "is not on the system drive (C:)"),
        (r"WORKDIR \\srv\share", r"\\srv\share", NETWORK),
        (r"COPY a \\srv\share\x", r"\\srv\share\x", NETWORK),
        (r"COPY a \\?\C:\x", r"\\?\C:\x", NETWORK),
        (r"COPY a \\.\pipe\x", r"\\.\pipe\x", NETWORK),
        ("COPY a //srv/x", "//srv/x", NETWORK),
        (r"COPY a \x\aux", r"\x\aux", '"aux" is the name of a device on Windows'),
        (r"COPY a \x\nul.txt", r"\x\nul.txt", '"nul.txt" is the name of a device on Windows'),
        (r"COPY a \x\a:b", r"\x\a:b", '"a:b" has a colon, which names a data stream on Windows'),
        (r"WORKDIR \x.\y", r"\x.\y", '"x." ends in a dot or space, which Windows drops'),
        (r"WORKDIR \what?", r"\what?", '"what?" has "?" in it, which no name on Windows has'),
    ],
)
def test_paths_that_no_image_has_are_told_with_their_line(line, word, reason):
    with pytest.raises(WcbuildError) as caught:
        lowered(f"LABEL a=b\n{line}")
    assert str(caught.value) == f'path "{word}": {reason}'
    assert caught.value.word == word
    assert [(span.first, span.last) for span in caught.value.spans] == [(4, 4)]


@pytest.mark.parametrize(
    ("lines", "entrypoint", "cmd", "escaped"),
    [
        (r"CMD \Deapp\Demoapp.exe", None, [r"cmd /S /C \Deapp\Demoapp.exe"], True),
        ('CMD a  "b  c" %X%', None, ['cmd /S /C a  "b  c" %X%'], True),
        (r'CMD ["c:\\foo bar\\a.exe", "x"]', None, [r"c:\foo bar\a.exe", "x"], False),
        ("ENTRYPOINT a b", ["cmd /S /C a b"], None, True),
        ('ENTRYPOINT ["a", "b"]', ["a", "b"], None, False),
        ('ENTRYPOINT ["a"]\nCMD ["b"]', ["a"], ["b"], False),
        ('CMD b\nENTRYPOINT ["a"]', ["a"], ["cmd /S /C b"], False),
    ],
)
def test_commands_are_what_the_classic_builder_makes_of_them(lines, entrypoint, cmd, escaped):
    config = lowered(lines).plan.config
    assert config.entrypoint == (tuple(entrypoint) if entrypoint else None)
    assert config.cmd == (tuple(cmd) if cmd else None)
    assert bool(config.args_escaped) is escaped


def test_another_shell_takes_the_place_of_cmd():
    shell = """SHELL ["powershell", "-Command", "$ErrorActionPreference='Stop';"]"""
    config = lowered(f"{shell}\nCMD Write-Host  'a'").plan.config
    assert config.cmd == ("powershell -Command $ErrorActionPreference='Stop'; Write-Host  'a'",)
    assert config.args_escaped
    assert config.shell == ("powershell", "-Command", "$ErrorActionPreference='Stop';")


def test_a_shell_hears_a_run_as_it_is_written():
    run = last('RUN mkdir "c:/foo  bar" `\n  && echo %X%', RunOp)
    assert run.verbatim
    assert run.args == ("cmd", "/S", "/C", 'mkdir "c:/foo  bar"   && echo %X%')


def test_variables_have_one_name_in_any_case():
    base = ContainerConfig(env=("Path=C:\\Windows", "ONE=1"))
    config = lowered("ENV PATH=C:\\app;${path}\nENV one=2 Two=$One", base).plan.config
    assert config.env == ("PATH=C:\\app;C:\\Windows", "one=2", "Two=1")


def test_there_is_no_path_of_linux_in_it():
    assert lowered("ENV A=b").plan.config.env == ("A=b",)


def test_signals_are_refused_with_their_line():
    with pytest.raises(WcbuildError, match="STOPSIGNAL is not for Windows images") as caught:
        lowered("LABEL a=b\nSTOPSIGNAL 9")
    assert caught.value.spans[0].first == 4


def test_an_account_that_only_windows_knows_is_refused_before_anything_is_built():
    with pytest.raises(WcbuildError, match='account "bob" cannot be resolved') as caught:
        lowered("ARG WHO=bob\nCOPY --chown=$WHO a /a")
    assert caught.value.spans[0].first == 4


def test_the_base_decides_where_nobody_asked():
    result = lowered(r"WORKDIR \x", platform=LINUX)
    assert result.plan.platform.os_version == "10.0.20348.1"
    assert result.plan.config.working_dir == r"C:\x"
