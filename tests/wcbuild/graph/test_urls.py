"""URLs as people may see them."""

import pytest

from wcbuild.graph.urls import hide_secrets, without_secrets, without_user

CASES = {
    "http://h/p": "http://h/p",
    "http://me:pw@h/p": "http://xxxxx:xxxxx@h/p",
    "https://token@h/p@q": "https://xxxxx@h/p@q",
    "https://me:a@b:c@h/p": "https://xxxxx:xxxxx@h/p",
    "HTTPS://me:pw@h/p": "HTTPS://xxxxx:xxxxx@h/p",
    "git://me:pw@h/p": "git://xxxxx:xxxxx@h/p",
    "ssh://git@h/p": "ssh://git@h/p",
    "ssh://git:pw@h/p": "ssh://xxxxx:xxxxx@h/p",
    "git@h:p": "git@h:p",
    "https://h/a?b=c@d": "https://h/a?b=c@d",
    "https://me:@h": "https://xxxxx:xxxxx@h",
}


@pytest.mark.parametrize(("url", "shown"), CASES.items())
def test_users_and_passwords_of_urls_are_not_shown(url, shown):
    assert without_secrets(url) == shown
    assert hide_secrets(f"ADD {url} x@y {url}") == f"ADD {shown} x@y {shown}"


def test_a_password_with_blanks_is_not_shown_either():
    assert without_secrets("http://me:p w@h/p") == "http://xxxxx:xxxxx@h/p"


def test_commands_are_given_no_users_that_they_need_not_know():
    assert without_user("https://me:pw@h/p@q") == "https://h/p@q"
    assert without_user("git://me:pw@h/p") == "git://h/p"
    assert without_user("ssh://git@h/p") == "ssh://git@h/p"
    assert without_user("git@h:p") == "git@h:p"
