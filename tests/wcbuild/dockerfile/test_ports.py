import pytest

from wcbuild.dockerfile.ports import expand_ports


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("80", ["80/tcp"]),
        ("53/UDP", ["53/udp"]),
        ("8000-8002", ["8000/tcp", "8001/tcp", "8002/tcp"]),
        ("127.0.0.1:8080:80/sctp", ["80/sctp"]),
        ("[::1]:8080:80", ["80/tcp"]),
        ("9000-9001:80-81", ["80/tcp", "81/tcp"]),
        ("9000-9010:80", ["80/tcp"]),
        ("0000000080", ["80/tcp"]),
        ("+80-+81", ["80/tcp", "81/tcp"]),
    ],
)
def test_expands(word, expected):
    assert expand_ports(word) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "no port specified"),
        ("/tcp", "no port specified"),
        ("http", "invalid containerPort: http"),
        ("80/http", "invalid proto: http"),
        ("81-80", "invalid containerPort: 81-80"),
        ("65536", "invalid containerPort"),
        ("1-99999999999", "invalid containerPort"),
        ("²", "invalid containerPort"),
        ("host:80:80", "invalid IP address: host"),
        ("[fe80::1%eth0]:80:80", "invalid IP address"),
        ("[::1:80:80", "invalid IP address"),
        ("0" * 5000 + "1", "invalid containerPort"),
        ("1-3:80-81", "invalid ranges"),
    ],
)
def test_refuses(word, message):
    with pytest.raises(ValueError, match=message):
        expand_ports(word)
