from wcbuild.dockerfile.variables import Variables


def test_a_variable_that_is_set_again_keeps_its_place():
    env = Variables(("A=1", "B=2"))
    env["A"] = "3"
    assert env.entries() == ("A=3", "B=2")


def test_entries_of_one_name_are_one_variable_with_the_last_value():
    assert Variables(("A=1", "B", "A=2", "=x")).entries() == ("A=2", "B=", "=x")


def test_a_variable_that_is_renewed_is_the_last():
    env = Variables(("A=1", "B=2"))
    env.renew("A", "3")
    assert env.entries() == ("B=2", "A=3")


def test_names_that_differ_in_case_are_two_variables():
    env = Variables(("Path=a", "PATH=b"))
    assert env.entries() == ("Path=a", "PATH=b")
    assert env["Path"] == "a"


def test_caseless_names_are_one_variable_with_the_last_spelling():
    env = Variables(("Path=a",), caseless=True)
    env["PATH"] = "b"
    assert env.entries() == ("PATH=b",)
    assert env["path"] == "b"
    assert "pAtH" in env


def test_a_copy_changes_alone():
    env = Variables(("A=1",))
    env.copy()["A"] = "2"
    assert env["A"] == "1"
