"""Whole Dockerfiles: the image config, the history, the operations and the refusals of BuildKit."""

import pytest
from recordings import edge_cases, integration, lowered

from registry.errors import RegistryError
from wcbuild.errors import WcbuildError
from wcbuild.solve.cache import timestamp

WINDOWS = "windows/amd64"


def check_image(recording):
    """Compare config and history, or the fact of a refusal."""
    try:
        found = {platform: lowered(recording, platform) for platform in recording.platforms}
    except (WcbuildError, RegistryError) as error:
        return None if recording.error else f"{recording.dockerfile!r}\n      refused: {error}"
    if recording.error:
        return f"{recording.dockerfile!r}\n      not refused: {recording.error}"
    for platform, each in found.items():
        plan = each.plan
        wanted = recording.config(platform)
        expected = {
            "config": meaning(wanted.get("config", {}), plan.platform),
            "history": wanted.get("history", []),
        }
        got = {
            "config": meaning(plan.config.to_json(), plan.platform),
            "history": history_of(plan, each.source_date_epoch),
        }
        if got != expected:
            return (
                f"{recording.dockerfile!r} for {platform}"
                f"\n      expected {expected}\n      got      {got}"
            )
    return None


def meaning(config, platform):
    """Return a config without what makes no difference to whoever runs the image."""
    if platform.os != "windows":
        return config
    # The system drive is the only one, whether it is named or not.
    working_dir = config.get("WorkingDir", "").removeprefix("C:")
    config = config | ({"WorkingDir": working_dir} if working_dir else {})
    first = (config.get("Entrypoint") or config.get("Cmd") or [""])[0]
    if first and not set(first) & set(' "\t'):
        # It says that the first argument is not to be quoted, which this one would not be anyway.
        config.pop("ArgsEscaped", None)
    return config


def history_of(plan, epoch):
    lines = [line.to_json() for line in plan.base_history]
    for line in plan.history:
        if line.created_by.startswith("FROM scratch"):
            continue  # the base that BuildKit does not give a Windows image
        fields = {
            "created": timestamp(int(epoch)) if epoch.isdecimal() else "",
            "created_by": line.created_by,
            "comment": line.comment,
            "empty_layer": line.step is None,
        }
        lines.append({key: value for key, value in fields.items() if value})
    return lines


@pytest.mark.parametrize(
    ("name", "build_platform", "floor"),
    [
        ("oracle_edge_cases", "linux/amd64", 146),
        ("integration_unix", "linux/amd64", 112),
        ("integration_windows", WINDOWS, 79),
    ],
)
def test_images_are_as_recorded(tables, measure, name, build_platform, floor):
    if name == "oracle_edge_cases":
        recordings = edge_cases(tables)
    else:
        recordings = integration(tables, name, build_platform)
    measure(f"{name} (config, history, errors)", recordings, check_image, floor=floor)
