"""Whatever a Dockerfile says, its checks, outline and targets end well, or with an error of ours."""

import contextlib
import json

from hypothesis import example, given
from hypothesis import strategies as st

from registry.errors import NotFoundError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.cli import calls
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint import check
from wcbuild.dockerfile.lint.options import CheckOptionError, CheckOptions
from wcbuild.dockerfile.lower import Options, ResolvedImage
from wcbuild.dockerfile.outline import list_targets, outline
from wcbuild.dockerfile.source import SourceFile
from wcbuild.errors import WcbuildError

LINES = (
    *("FROM a", "FROM $X AS b", "from scratch as B", "FROM --platform=$TARGETPLATFORM a", "FROM b"),
    *(
        "FROM --platform=windows/amd64 a AS w",
        "FROM --platform=$Y a",
        "FROM missing",
        "FROM a AS c",
    ),
    *("# check=skip=all", "# check=error=true;experimental=all", "# check=x", "# escape=`", "#"),
    *("# X words", "ARG X=a", "ARG X Y=$X", "ARG API_KEY=1", "ENV a b", "ENV a=$X b=${Y:-$Z}"),
    *(
        "WORKDIR \\",
        "WORKDIR c:\\a",
        "COPY bin\\Debug\\ \\Deapp",
        "COPY a b",
        'COPY ["a", "C:\\\\"]',
    ),
    *(
        "COPY --from=b . .",
        "COPY <<E /x",
        "$nope",
        "E",
        "ADD . /",
        "RUN dir c:\\",
        "RUN x \\",
        "",
        " ",
    ),
    *("RUN --mount=type=secret,id=$X x", "RUN --mount=type=ssh x", "CMD x", 'CMD ["x"]', "CMD \\"),
    *(
        "HEALTHCHECK CMD x",
        "ENTRYPOINT x",
        "SHELL []",
        'SHELL ["a"]',
        "EXPOSE 80/TCP $X 1:2",
        "USER $U",
    ),
    *("ONBUILD CMD x", "ONBUILD COPY --from=c / /", "MAINTAINER me", "LABEL a $b", "VOLUME c:\\v"),
    *("\x1c", "\x85", "é\\", "\\", "\x00", "cOPY a b", "STOPSIGNAL $X", "\t# check=skip=all"),
)
TEXTS = st.lists(st.sampled_from(LINES), max_size=14).map("\n".join)
PLATFORMS = st.sampled_from(("linux/amd64", "windows/amd64"))


class Images:
    """Knows one image, with triggers."""

    def context(self, name, platform):
        return None

    def image(self, name, platform):
        if name != "a":
            raise NotFoundError(name, "these tests")
        triggers = ("ENV t $X", "CMD t", "WORKDIR t\\u")
        config = ImageConfig(platform=platform, config=ContainerConfig(on_build=triggers))
        return ResolvedImage(digest=sha256(b"a"), config=config)


def options(platform, target=""):
    amd64 = Platform(os="linux", architecture="amd64")
    return Options(platform=Platform.parse(platform), build_platform=amd64, target=target)


@given(TEXTS.map(str.encode) | st.binary(max_size=100), PLATFORMS, st.sampled_from(("", "b", "c")))
@example(b"FROM a\nWORKDIR c:\\\n\x1c\n", "windows/amd64", "")
@example(b"FROM a\nCOPY <<E /x\nc:\\\n\nE\n", "windows/amd64", "")
def test_any_file_is_checked_to_the_end(data, platform, target):
    source = SourceFile(name="Dockerfile", data=data)
    result = check(source, options(platform, target), Images(), IgnoreRules(["a", "b"]))
    lines = data.count(b"\n") + 1
    assert all(1 <= each.span.first <= each.span.last <= lines for each in result.warnings)
    order = [each.span.first for each in result.warnings]
    assert order == sorted(order)
    # What is printed is printable, and what is JSON is JSON.
    text = calls.check_text(result)
    assert all(character.isprintable() or character in "\n\t" for character in text)
    json.dumps(calls.check_json(result)).encode()


@given(TEXTS.map(str.encode) | st.binary(max_size=100), PLATFORMS)
def test_any_file_has_an_outline_and_targets_or_an_error(data, platform):
    source = SourceFile(name="Dockerfile", data=data)
    try:
        listed = list_targets(source)
        json.dumps(calls.targets_json(listed)).encode()
        assert calls.targets_text(listed).count("(default)") == 1
        found = outline(source, options(platform), Images(), None)
    except WcbuildError:
        return
    json.dumps(calls.outline_json(found)).encode()
    calls.outline_text(found)


@given(st.lists(st.sampled_from((*"=;, ", "skip", "error", "experimental", "all", "true", "A"))))
def test_any_check_option_is_read_or_refused(parts):
    with contextlib.suppress(CheckOptionError):
        CheckOptions.parse("".join(parts))
