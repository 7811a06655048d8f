import pytest

from registry.oci.config import Healthcheck
from wcbuild.dockerfile import gotext


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (250_000_000, "250ms"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (3_661_000_000_000, "1h1m1s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(nanoseconds, text):
    assert gotext.duration(nanoseconds) == text


def test_quoted_lists_have_spaces_and_gos_escapes():
    assert gotext.quoted_list(["a b", 'say "x"', "tab\t", "\x01", "ü"]) == (
        '["a b" "say \\"x\\"" "tab\\t" "\\x01" "ü"]'
    )


def test_health_checks_are_printed_with_field_names():
    check = Healthcheck(test=("CMD-SHELL", "curl x"), interval=5_000_000_000, retries=3)
    assert gotext.healthcheck(check) == (
        "{Test:[CMD-SHELL curl x] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}"
    )
