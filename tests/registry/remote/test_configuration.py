"""Settings in files: ours, containers' registries.conf, and where certificates are."""

import pytest

from registry.errors import ConfigurationError
from registry.reference import Reference
from registry.remote.configuration import read_configuration
from registry.remote.mirrors import Mirror, Rule


@pytest.fixture
def read(tmp_path):
    """Write files, by their path below `home` and `etc`, and read them as a user would."""

    def do(files: dict[str, str], **environment):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_configuration({"HOME": str(tmp_path / "home"), **environment}, tmp_path / "etc")

    return do


def places(rule: Rule) -> list[str]:
    return [mirror.location for mirror in rule.mirrors]


def rule_for(configuration, name: str) -> Rule | None:
    return configuration.mirrors.rule_for(Reference.parse(name))


def test_without_files_nothing_is_changed(read):
    configuration = read({})
    assert configuration.mirrors.rules == ()
    assert configuration.insecure == frozenset()
    assert [str(path).rpartition("/")[0][-14:] for path in configuration.certificate_folders][
        -1
    ].endswith("etc/docker")


def test_reads_our_own_file(read):
    configuration = read(
        {
            "home/.config/wcbuild/config.toml": """
[registry."docker.io"]
mirrors = ["mirror.example:5000/hub", "other.example"]
[registry."lab.example:5000"]
insecure = true
[registry."bad.example"]
blocked = true
"""
        }
    )
    rule = rule_for(configuration, "debian")
    assert places(rule) == ["mirror.example:5000/hub", "other.example"]
    assert configuration.insecure == {"lab.example:5000"}
    assert rule_for(configuration, "bad.example/x").blocked
    assert rule_for(configuration, "fine.example/x") is None


def test_xdg_config_home_says_where_the_users_file_is(read, tmp_path):
    text = '[registry."docker.io"]\nmirrors = ["user.example"]'
    configuration = read({"xdg/wcbuild/config.toml": text}, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert places(rule_for(configuration, "debian")) == ["user.example"]


def test_the_users_file_comes_before_the_machines_and_both_before_containers(read):
    files = {
        "home/.config/wcbuild/config.toml": '[registry."a.example"]\nmirrors = ["user.example"]',
        "etc/wcbuild/config.toml": '[registry."a.example"]\nmirrors = ["etc.example"]\n'
        '[registry."b.example"]\nmirrors = ["etc.example"]',
        "etc/containers/registries.conf": '[[registry]]\nprefix = "b.example"\n'
        'location = "c.example"\n[[registry]]\nlocation = "d.example"\ninsecure = true',
    }
    configuration = read(files)
    assert places(rule_for(configuration, "a.example/x")) == ["user.example"]
    assert places(rule_for(configuration, "b.example/x")) == ["etc.example"]
    assert configuration.insecure == {"d.example"}


def test_reads_containers_registries(read):
    text = """
unqualified-search-registries = ["quay.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "docker.io/library"
location = "internal.example/lib"

[[registry.mirror]]
location = "one.example:5000"
insecure = true

[[registry.mirror]]
location = "two.example/path"
pull-from-mirror = "digest-only"

[[registry.mirror]]
location = "three.example"
pull-from-mirror = "tag-only"

[[registry]]
location = "quay.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "four.example"

[[registry]]
prefix = "*.bad.example"
blocked = true
"""
    configuration = read({"etc/containers/registries.conf": text})
    rule = rule_for(configuration, "debian")
    assert rule.location == "internal.example/lib"
    assert rule.mirrors == (
        Mirror(location="one.example:5000"),
        Mirror(location="two.example/path", tags=False),
        Mirror(location="three.example", digests=False),
    )
    assert rule_for(configuration, "quay.io/x/y").mirrors == (
        Mirror(location="four.example", tags=False),
    )
    assert configuration.insecure == {"one.example:5000"}
    assert rule_for(configuration, "very.bad.example:5000/x").blocked
    assert rule_for(configuration, "notbad.example/x") is None


def test_the_longest_prefix_holds(read):
    text = "".join(
        f'[[registry]]\nprefix = "{prefix}"\nlocation = "at.example/{number}"\n'
        for number, prefix in enumerate(["a.example", "a.example/team/app", "a.example/team"])
    )
    configuration = read({"etc/containers/registries.conf": text})
    assert rule_for(configuration, "a.example/team/app").location == "at.example/1"
    assert rule_for(configuration, "a.example/team/application").location == "at.example/2"
    assert rule_for(configuration, "a.example/teams").location == "at.example/0"


def test_a_users_registries_conf_replaces_the_machines_and_drop_ins_stand_above(read):
    def registry(location: str) -> str:
        return f'[[registry]]\nprefix = "a.example"\nlocation = "{location}"\n'

    files = {"etc/containers/registries.conf": registry("etc.example")}
    assert rule_for(read(files), "a.example/x").location == "etc.example"
    files = {"home/.config/containers/registries.conf": registry("user.example")}
    assert rule_for(read(files), "a.example/x").location == "user.example"
    files = {
        "etc/containers/registries.conf.d/10.conf": registry("ten.example"),
        "etc/containers/registries.conf.d/20.conf": registry("twenty.example"),
    }
    assert rule_for(read(files), "a.example/x").location == "twenty.example"


def test_a_named_registries_conf_is_read_alone(read, tmp_path):
    files = {"etc/containers/registries.conf": "[[", "named.conf": ""}
    named = str(tmp_path / "named.conf")
    assert read(files, CONTAINERS_REGISTRIES_CONF=named).mirrors.rules == ()


@pytest.mark.parametrize(
    ("prefix", "location", "name", "expected"),
    [
        ("docker.io", "m.example", "debian:12", "m.example/library/debian:12"),
        ("docker.io", "m.example:5000/hub", "team/app", "m.example:5000/hub/team/app"),
        ("docker.io/library", "m.example/lib", "debian", "m.example/lib/debian"),
        ("a.example/x/y", "m.example/z", "a.example/x/y", "m.example/z"),
        ("*.example", "m.test", "a.example/x/y", "m.test/x/y"),
    ],
)
def test_a_location_takes_the_place_of_the_prefix(prefix, location, name, expected):
    reference = Reference.parse(name)
    rule = Rule(prefix=prefix)
    assert rule.covers(reference.name)
    assert str(rule.at(location, reference)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[registry", "is not TOML"),
        ("[registries]\n", r'unknown key "registries"'),
        ("registry = 3", "registry is not a table"),
        ('[registry."a.example"]\nmirror = []', r'unknown key "mirror"; there are mirrors, loc'),
        ('[registry."a.example"]\nmirrors = "b.example"', "mirrors is not a list"),
        ('[registry."a.example"]\nmirrors = ["hub"]', '"hub" does not begin with a host'),
        ('[registry."a.example"]\nmirrors = ["https://b.example"]', "is not a place"),
        ('[registry."a.example"]\nmirrors = [3]', '"3" does not begin with a host'),
        ('[registry."a.example"]\ninsecure = "yes"', "insecure is neither true nor false"),
        ('[registry."A B"]\n', '"A B" is not a place'),
    ],
)
def test_mistakes_in_our_file_are_named(read, text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read({"etc/wcbuild/config.toml": text})
    assert "etc/wcbuild/config.toml: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[", "is not TOML"),
        ("[registries.search]\nregistries = ['a']", "version 1"),
        ("registry = 3", "lists of tables"),
        ("registry = [3]", "is not a table"),
        ("[[registry]]\n", "is not a place"),
        ('[[registry]]\nlocation = "a.example"\nblocked = 1', "neither true nor false"),
        (
            (
                '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "b.example"\n'
                'pull-from-mirror = "never"'
            ),
            "means nothing",
        ),
    ],
)
def test_mistakes_in_registries_conf_are_named(read, text, message):
    with pytest.raises(ConfigurationError, match=message):
        read({"etc/containers/registries.conf": text})


def test_attack_huge_and_odd_files_are_refused(read, tmp_path):
    with pytest.raises(ConfigurationError, match="larger than the limit"):
        read({"etc/wcbuild/config.toml": "#" * 1_100_000})
    (tmp_path / "etc/wcbuild/config.toml").unlink()
    (tmp_path / "etc/wcbuild/config.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"config\.toml: is not a regular file"):
        read({})
