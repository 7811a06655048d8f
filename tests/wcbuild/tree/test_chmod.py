import pytest

from wcbuild.tree import chmod
from wcbuild.tree.errors import InvalidModeError


@pytest.mark.parametrize(
    ("text", "mode", "result"),
    [
        ("644", 0o777, 0o644),
        ("0", 0o777, 0),
        ("07777", 0, 0o7777),
        ("000000755", 0, 0o755),
        ("u+x", 0o644, 0o744),
        ("go-w,u+s", 0o777, 0o4755),
        ("a=rX", 0o755, 0o555),
        ("a=rX", 0o644, 0o444),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("a-x,a+X", 0o100, 0o111),
        ("a-X", 0o755, 0o644),
        ("g=Xu", 0o700, 0o770),
        ("o=uX", 0o610, 0o617),
        ("a=rX", 0o744, 0o555),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o500, 0o755),
        ("a-x,u+X", 0o755, 0o744),
        ("u=Xg", 0o651, 0o551),
        ("+X", 0o421, 0o531),
        ("+X", 0o600, 0o600),
        ("g=u", 0o740, 0o770),
        ("go=u-w", 0o752, 0o755),
        ("u=", 0o4755, 0o055),
        ("+t", 0o755, 0o1755),
        ("o+t", 0o755, 0o755),
    ],
)
def test_changes_modes_of_files(text, mode, result):
    assert chmod.change(text, mode, is_directory=False) == result


@pytest.mark.parametrize(
    ("text", "mode", "result"),
    [("u=rwX,go=rX", 0o600, 0o755), ("a+X", 0o600, 0o711), ("go-X", 0o755, 0o744)],
)
def test_directories_can_be_entered_after_a_capital_x(text, mode, result):
    assert chmod.change(text, mode, is_directory=True) == result


@pytest.mark.parametrize("text", ["8", "10000", "0x1ff", "7" * 5000, "755x"])
def test_numbers_that_are_no_modes_are_refused(text):
    with pytest.raises(InvalidModeError, match="octal string and between 0 and 07777"):
        chmod.change(text, 0, is_directory=False)


@pytest.mark.parametrize(
    "text", ["", ",", "go", "u+z", "u+x,,g+x", "u+x,", "rw", "u+x g+x", "\u0661"]
)
def test_text_that_is_no_mode_is_refused(text):
    with pytest.raises(InvalidModeError):
        chmod.change(text, 0, is_directory=False)
