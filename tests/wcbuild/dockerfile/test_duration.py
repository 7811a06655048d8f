import pytest

from wcbuild.dockerfile.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("30s", 30_000_000_000),
        ("1h2m3s", 3_723_000_000_000),
        ("1.5ms", 1_500_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("-1s", -1_000_000_000),
        ("+2us", 2_000),
        ("2µs3ns", 2_003),
        ("0.1ns", 0),
    ],
)
def test_reads(text, nanoseconds):
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "1d", "1s 2s", "1..s", ".s", "--1s", "9999999999h", "1" * 200 + "s"]
)
def test_refuses(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
