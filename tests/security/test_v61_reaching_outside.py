"""CVE-2020-15257, CVE-2016-2568, CVE-2021-20199 and others: terminals, keys, sockets, services."""

import http.server
import threading

import pytest


@pytest.fixture
def service():
    """A service on the host's loopback; yields its port."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_network_reaches_no_service_of_the_host(sandbox, service):
    for address in ("127.0.0.1", "10.0.2.2", "localhost"):
        ended = sandbox.sh(
            f"nc -w 1 {address} {service} < /dev/null && echo REACHED", network="none"
        )
        assert ended.out == ""


def test_no_network_has_no_route_and_no_socket_of_the_host(sandbox):
    ended = sandbox.sh("cat /proc/net/route | tail -n +2; grep -c @ /proc/net/unix", network="none")
    assert ended.out == "0\n"


def test_no_abstract_socket_is_ours(sandbox):
    # With the host's network a command sees the host's abstract sockets; none may be the builder's.
    from pathlib import Path

    def abstract():
        return {
            line.split()[-1]
            for line in Path("/proc/net/unix").read_text().splitlines()
            if "@" in line
        }

    number = sandbox.start("sleep", "1")
    assert not any("wcbuild" in name for name in abstract())
    sandbox.wait(number)


def test_terminal_of_the_caller_is_out_of_reach(sandbox):
    program = """
import fcntl, os, termios
for handle in (0, 1, 2):
    try:
        fcntl.ioctl(handle, termios.TIOCSTI, b"x")
        print("INJECTED")
    except OSError:
        pass
try:
    os.open("/dev/tty", os.O_RDWR)
    print("OPENED")
except OSError:
    pass
print(os.getsid(0), os.getpgid(0))
"""
    assert sandbox.python(program).out == "1 1\n"


def test_keyrings_of_the_caller_are_out_of_reach(sandbox):
    program = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
add_key, request_key, keyctl = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[platform.machine()]
for number in (add_key, request_key, keyctl):
    print(libc.syscall(number, 0, -3, 0, 0, 0), ctypes.get_errno())
"""
    assert sandbox.python(program).out == "-1 1\n" * 3


def test_messages_and_shared_memory_are_the_sandboxs(sandbox):
    ended = sandbox.sh("tail -n +2 /proc/sysvipc/shm; tail -n +2 /proc/sysvipc/msg; ls /dev/mqueue")
    assert ended.out == ""


def test_signals_do_not_leave(sandbox):
    ended = sandbox.sh("kill -9 -1; echo alive")
    assert ended.out == "alive\n"
    assert sandbox.run("true").code == 0
