"""Builds from Python: results, events, typed errors, and giving up."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from wcbuild import BuildRequest, Output, build
from wcbuild.errors import DockerfileSyntaxError, StepFailedError
from wcbuild.solve.events import StepDone, StepOutput

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]


@pytest.fixture
def request_for(wcbuild, context):
    def make(dockerfile, **fields):
        return BuildRequest(
            context=context(dockerfile),
            build_contexts={"base": f"oci-layout://{wcbuild.base}"},
            root=wcbuild.root,
            **fields,
        )

    return make


def test_a_build_gives_events_and_a_result(request_for, wcbuild, tmp_path):
    events = []
    outputs = (Output(kind="tar", dest=str(tmp_path / "files.tar")),)
    request = request_for("FROM base\nRUN echo hello\n", tags=("api:1",), outputs=outputs)
    result = build(request, events.append)
    assert b"hello\n" in [event.data for event in events if isinstance(event, StepOutput)]
    assert not [event for event in events if isinstance(event, StepDone)][-1].cached
    assert result.names == ("docker.io/library/api:1",)
    assert result.image_id.hex[:12] in wcbuild("images").stdout
    assert (tmp_path / "files.tar").stat().st_size > 0


def test_a_failed_step_is_an_error_with_fields(request_for):
    with pytest.raises(StepFailedError) as caught:
        build(request_for("FROM base\nRUN echo why; exit 3\n"))
    assert caught.value.status == 3
    assert caught.value.tail == "why"
    assert caught.value.spans[0].first == 2


def test_a_wrong_dockerfile_is_an_error_with_its_place(request_for):
    with pytest.raises(DockerfileSyntaxError) as caught:
        build(request_for("FROM base\nRNU x\n"))
    assert str(caught.value.spans[0]) == "Dockerfile:2"
    assert caught.value.word == "RNU"


def test_builds_can_be_made_from_several_threads(request_for):
    request = request_for("FROM base\nRUN echo x > /x\n", build_args={"SOURCE_DATE_EPOCH": "1"})
    results = []
    threads = [threading.Thread(target=lambda: results.append(build(request))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len({result.image_id for result in results}) == 1


def test_a_callback_that_raises_ends_the_build(request_for):
    """Nothing of it is left running."""

    def give_up(event):
        if isinstance(event, StepOutput):
            raise KeyError("enough")

    marker = f"{time.time_ns()}"
    started = time.monotonic()
    with pytest.raises(KeyError, match="enough"):
        build(request_for(f"FROM base\nRUN echo {marker}; sleep 600\n"), give_up)
    assert time.monotonic() - started < 60
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert marker not in found.stdout


def test_the_callers_process_stays_what_it_is(request_for):
    before = (os.geteuid(), os.readlink("/proc/self/ns/mnt"), os.readlink("/proc/self/ns/user"))
    build(request_for("FROM base\nRUN true\n"))
    after = (os.geteuid(), os.readlink("/proc/self/ns/mnt"), os.readlink("/proc/self/ns/user"))
    assert after == before
