"""V78 (CVE-2017-11468, CVE-2023-2253): lists of tags that are huge, or whose pages do not end."""

import json

import pytest

from registry.errors import ProtocolError, TooLargeError
from registry.remote.repository import MAX_PAGES


def test_attack_page_beyond_the_limit_is_not_read_whole(repository, simulator):
    body = json.dumps({"tags": ["x" * 100] * 60_000}).encode()
    simulator.fail_next("GET", 200, body=body, at="/tags/")
    with pytest.raises(TooLargeError, match="tags of"):
        list(repository.tags())


def test_attack_pages_that_always_have_a_next_one_end(repository, simulator, monkeypatch):
    monkeypatch.setattr("registry.remote.repository.MAX_PAGES", 20)
    assert MAX_PAGES <= 1000
    for number in range(40):
        link = {"Link": f'</v2/team/app/tags/list?last={number}>; rel="next"'}
        simulator.fail_next("GET", 200, 1, link, body=b'{"tags": ["a"]}', at="/tags/")
    with pytest.raises(ProtocolError, match="its pages do not end"):
        list(repository.tags())
    assert len(simulator.sent("GET", "/tags/")) == 20


def test_attack_page_that_leads_to_itself_ends(repository, simulator):
    link = {"Link": '</v2/team/app/tags/list>; rel="next"'}
    simulator.fail_next("GET", 200, 9, link, body=b'{"tags": ["a"]}', at="/tags/")
    with pytest.raises(ProtocolError, match="its pages do not end"):
        list(repository.tags())
    assert len(simulator.sent("GET", "/tags/")) == 1
