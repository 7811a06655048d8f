"""Tables, JSON and templates."""

from __future__ import annotations

import pytest

from wcbuild.cli.format import Template, documents, human_age, listing, table
from wcbuild.cli.images import since
from wcbuild.errors import UsageError
from wcbuild.sizes import format_size

IMAGE = {
    "Id": "sha256:0123",
    "RepoTags": ["app:1", "app:latest"],
    "RepoDigests": [],
    "Os": "linux",
    "Config": {
        "Cmd": ["sh", "-c", "run me"],
        "Env": ["A=1", "B=2"],
        "Labels": {"b": "2", "a": "1"},
        "Healthcheck": None,
        "Tty": False,
    },
    "Size": 12,
}
COLUMNS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Size": "SIZE"}
ROWS = [
    {"Repository": "debian", "Tag": "12", "ID": "0123456789ab", "Size": "117MB"},
    {"Repository": "registry.local/team/app", "Tag": "<none>", "ID": "ba9876543210", "Size": "1B"},
]


def render(text: str, value: object = IMAGE) -> str:
    return Template(text).render(value)


def test_table_is_dockers():
    assert listing(ROWS, COLUMNS) == (
        "REPOSITORY                TAG       IMAGE ID       SIZE\n"
        "debian                    12        0123456789ab   117MB\n"
        "registry.local/team/app   <none>    ba9876543210   1B\n"
    )


def test_an_empty_table_is_its_headers():
    assert table(["A", "B"], []) == "A         B\n"


def test_control_characters_in_cells_are_spelled():
    assert table(["A"], [["x\x1b[2J\ry"]]) == "A\nx\\x1b[2J\\ry\n"


def test_json_is_an_object_a_line():
    assert listing(ROWS[:1], COLUMNS, "json") == (
        '{"Repository":"debian","Tag":"12","ID":"0123456789ab","Size":"117MB"}\n'
    )


def test_template_is_a_line_a_row():
    assert listing(ROWS, COLUMNS, r"{{.ID}}\t{{ .Repository }}:{{.Tag}}") == (
        "0123456789ab\tdebian:12\nba9876543210\tregistry.local/team/app:<none>\n"
    )


def test_table_template_has_headers():
    assert listing(ROWS[:1], COLUMNS, r"table {{.ID}}\t{{.Tag}}") == (
        "IMAGE ID       TAG\n0123456789ab   12\n"
    )


def test_inspect_prints_a_list_of_documents():
    assert documents([{"a": 1}]) == '[\n    {\n        "a": 1\n    }\n]\n'
    assert documents([{"a": 1}], "json") == '[{"a":1}]\n'
    assert documents([IMAGE], "{{.Id}}") == "sha256:0123\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}}", "sha256:0123"),
        ("{{.Config.Cmd}}", "[sh -c run me]"),
        ("{{json .Config.Cmd}}", '["sh","-c","run me"]'),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ('{{index .Config.Labels "a"}}', "1"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{index .RepoTags 1}}", "app:latest"),
        ('{{join .RepoTags ", "}}', "app:1, app:latest"),
        ("{{len .RepoTags}}", "2"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range .RepoDigests}}never{{end}}", ""),
        ("{{upper .Os}} {{lower .Os}}", "LINUX linux"),
        ("{{.Config.Tty}} {{.Config.Healthcheck}}", "false <nil>"),
        ("a {{- .Os -}} b", "alinuxb"),
        ("{{json .}}", None),
        ("no action", "no action"),
    ],
)
def test_the_subset_of_go_templates(template, text):
    rendered = render(template)
    assert text is None or rendered == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Nope}}", 'no field "Nope" (there are: Id, '),
        ("{{.Id.x}}", "there is nothing inside"),
        ("{{if .Id}}x{{end}}", '"if .Id" is not a field'),
        ("{{.Id | json}}", "is not a field"),
        ("{{index .RepoDigests 0}}", "out of range"),
        ("{{range .RepoTags}}", "range without end"),
        ("{{end}}", "end without range"),
        ("{{.Id", "an action is not closed"),
        ("{{range .Id}}{{end}}", "is not a list"),
        ("{{}}", "is not a field"),
        ("{{json x}}", '"x" is not a field'),
    ],
)
def test_refuses_what_it_does_not_know_and_says_so(template, reason):
    with pytest.raises(UsageError) as raised:
        render(template)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (61, "About a minute ago"),
        (300, "5 minutes ago"),
        (3600, "About an hour ago"),
        (47 * 3600, "47 hours ago"),
        (3 * 86400, "3 days ago"),
        (20 * 86400, "2 weeks ago"),
        (100 * 86400, "3 months ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_ages_are_in_dockers_words(seconds, text):
    assert human_age(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (29_132_000, "29.1MB"),
        (5.4e9, "5.4GB"),
        (2e12, "2TB"),
    ],
)
def test_sizes_are_dockers(size, text):
    assert format_size(int(size)) == text


@pytest.mark.parametrize("created", ["", "yesterday", "0001-01-01T00:00:00Z"])
def test_an_image_without_a_date_has_no_age(created):
    """Signatures have the last of these."""
    assert since(created) == "N/A"
