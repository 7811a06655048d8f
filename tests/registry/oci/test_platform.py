import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidDocumentError
from registry.oci.platform import Platform

WORD = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
PLATFORMS = st.builds(
    Platform,
    os=WORD,
    architecture=WORD,
    variant=st.one_of(st.just(""), WORD),
    os_version=st.one_of(
        st.just(""), st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){2}", fullmatch=True)
    ),
).map(Platform.normalized)


@given(PLATFORMS)
def test_parsing_is_the_inverse_of_printing(platform):
    if platform.os == "macos":
        return
    assert Platform.parse(str(platform)) == platform


@given(PLATFORMS)
def test_json_keeps_everything(platform):
    assert Platform.from_json(platform.to_json()) == platform


@given(PLATFORMS)
def test_normalizing_again_changes_nothing(platform):
    assert platform.normalized() == platform
    assert platform.accepts(platform)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("LINUX/AMD64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.1)/amd64"),
        ("windows(10.0.20348+win32k)/amd64", "windows(10.0.20348+win32k)/amd64"),
        ("linux(+b+a)/amd64", "linux(+a+b)/amd64"),
        ("macos", "darwin/amd64"),
        ("linux/armhf/v6", "linux/arm/v7"),
        ("linux/arm64/9", "linux/arm64/v9"),
        ("windows/amd64:10.0.17763", "windows(10.0.17763)/amd64"),
    ],
)
def test_reads_the_usual_spellings(text, canonical):
    assert str(Platform.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "/",
            "linux/",
            "a/b/c/d",
            "linux/am d64",
            "é/x",
            "windows/amd64:",
            "windows(1/x",
            ":1",
            "amd46",
            "lniux",
        ),
        *("windows(ltsc2022)/amd64", "windows(10.0)/amd64", "windows/amd64:10.0.x"),
    ],
)
def test_refuses_what_is_no_platform(text):
    with pytest.raises(InvalidDocumentError):
        Platform.parse(text)


def test_windows_build_must_match_and_revision_need_not():
    wanted = Platform.parse("windows(10.0.20348.1)/amd64")
    assert wanted.accepts(Platform.parse("windows(10.0.20348.2402)/amd64"))
    assert not wanted.accepts(Platform.parse("windows(10.0.17763.2402)/amd64"))
    assert Platform.parse("windows/amd64").accepts(wanted)


@pytest.mark.parametrize(
    ("machine", "runs", "runs_not"),
    [
        ("10.0.17763", ("10.0.17763.1", "10.0.17763"), ("10.0.17762", "10.0.20348", "10.0.14393")),
        ("10.0.20347", ("10.0.20347",), ("10.0.17763", "10.0.20348")),
        ("10.0.20348", ("10.0.20348.2700",), ("10.0.17763", "10.0.20349", "10.0.25398")),
        ("10.0.22631", ("10.0.20348", "10.0.22631", "10.0.22000"), ("10.0.22632", "10.0.17763")),
        ("10.0.25398", ("10.0.20348", "10.0.25398"), ("10.0.25399", "10.0.26100")),
        ("10.0.26100.1742", ("10.0.20348", "10.0.25398", "10.0.26100.9"), ("10.0.26101",)),
        ("10.0.27000", ("10.0.26100", "10.0.27000"), ("10.0.20348", "10.0.25398", "10.0.27001")),
        ("11.0.20348", ("11.0.20348",), ("10.0.20348",)),
        ("10.0.17763", ("", "10.0", "ten", "10.0.x"), ()),
        ("", ("10.0.17763", "10.0.20348", ""), ()),
        ("10.0", ("10.0.17763",), ()),
    ],
)
def test_a_machine_runs_the_windows_images_that_containerd_says(machine, runs, runs_not):
    wanted = Platform(os="windows", architecture="amd64", os_version=machine)
    for version in (*runs, *runs_not):
        offered = Platform(os="windows", architecture="amd64", os_version=version)
        assert wanted.accepts(offered) == (version in runs), version


def test_features_are_read_and_do_not_decide():
    wanted = Platform.parse("windows(10.0.20348+win32k)/amd64")
    assert wanted.os_features == ("win32k",)
    assert wanted.accepts(Platform.parse("windows(10.0.20348.1)/amd64"))
    assert Platform.parse("windows(10.0.20348.1)/amd64").accepts(wanted)
