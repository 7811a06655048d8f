"""What all tests share: a way to say that a skipped test is a failure, a registry, and sandboxes."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import sandboxes
from hypothesis import HealthCheck, settings

# Properties are neither timed, for machines differ, nor remembered, for the checkout may be read-only.
settings.register_profile(
    "untimed", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


def pytest_configure() -> None:
    # Tests start hundreds of interpreters, and each would compile our modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # What is started in the background ignores Ctrl-C, and so would all that tests start and interrupt.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="MARKER",
        help="fail, instead of skipping, tests with this marker",
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write what golden tests find as expected"
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return 0  # a few files are done sooner than workers have started
    return len(os.sched_getaffinity(0)) + 2  # as tests do not only compute, but also wait


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid():
        pytest.skip("needs real root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    markers = item.config.getoption("--require")
    required = [name for name in markers if item.get_closest_marker(name)]
    if required and report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"--require {required[0]}: {item.nodeid}: {reason}"
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    # Here, as the process that prints reads no tests, and so nothing beside them.
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    properties = [each for report in reports for each in report.user_properties]
    if lines := [line for name, line in properties if name == "conformance"]:
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def new_simulator():
    """Make registries in this process that can be told to misbehave; see `simulator`."""
    from simulator import RegistrySimulator

    made = []

    def make(**options):
        made.append(RegistrySimulator(**options))
        return made[-1]

    yield make
    for simulator in made:
        simulator.stop()


@pytest.fixture
def simulator(new_simulator):
    return new_simulator()


@pytest.fixture(scope="session", params=sandboxes.KINDS)
def sandbox(request):
    """Sandboxes of every identity that this machine allows; see `tests/support/sandboxes.py`."""
    if reason := sandboxes.reason_against(request.param):
        pytest.skip(reason)
    with sandboxes.open_sandboxes(request.param) as opened:
        if opened.identity["kind"] == "none":
            pytest.skip(f"{opened.identity['reason']} ({opened.identity['hint']})")
        yield opened


@pytest.fixture
def web():
    """A web server in this process that can be told to misbehave; see `web`."""
    from web import WebServer

    server = WebServer()
    yield server
    server.stop()


@pytest.fixture
def repositories(tmp_path):
    """A folder for repositories, and a function that makes one in it."""
    import web

    if web.GIT is None:
        pytest.skip("not installed: git")
    folder = tmp_path / "repositories"
    folder.mkdir()
    return folder, lambda name, **options: web.Repository(folder / f"{name}.git", **options)


@pytest.fixture
def new_git_server(repositories):
    """Serve the repositories with `git http-backend`; ``password`` is the header that is wanted."""
    from web import WebServer

    made = []

    def make(**options):
        made.append(WebServer(repositories[0], **options))
        return made[-1]

    yield make
    for server in made:
        server.stop()
