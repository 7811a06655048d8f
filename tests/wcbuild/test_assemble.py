from registry.image import check_image, read_image
from registry.memory import MemoryStore
from registry.oci.config import ContainerConfig, History
from registry.oci.digest import DiffId, sha256
from registry.oci.platform import Platform
from wcbuild.assemble import image_config, put_image
from wcbuild.graph.plan import ImagePlan, PlannedHistory

AMD64 = Platform(os="linux", architecture="amd64")
BASE_TIME, STEP_TIME, NOW = "2020-01-01T00:00:00Z", "2024-05-05T00:00:00Z", "2025-01-01T00:00:00Z"


def config(history, *, base=(), steps=None, layers=1, epoch=""):
    plan = ImagePlan(
        rootfs=0,
        platform=AMD64,
        config=ContainerConfig(),
        base_history=base,
        history=history,
    )
    diff_ids = [DiffId(sha256(str(number).encode())) for number in range(layers)]
    return image_config(plan, diff_ids, steps or {}, epoch=epoch)


def test_metadata_takes_the_time_of_the_first_new_layer():
    history = (PlannedHistory(created_by="ENV a=b"), PlannedHistory(created_by="RUN x", step=1))
    base = (History(created=BASE_TIME, created_by="base"),)
    made = config(history, base=base, steps={1: STEP_TIME}, layers=2)
    assert [line.created for line in made.history] == [BASE_TIME, STEP_TIME, STEP_TIME]
    assert made.created == STEP_TIME


def test_metadata_alone_takes_the_time_of_the_base():
    base = (History(created=BASE_TIME, created_by="base"),)
    made = config((PlannedHistory(created_by="ENV a=b"),), base=base)
    assert made.history[-1].created == BASE_TIME


def test_a_fixed_time_is_that_of_all_new_lines():
    base = (History(created=BASE_TIME, created_by="base"),)
    history = (PlannedHistory(created_by="ENV a=b"), PlannedHistory(created_by="RUN x", step=1))
    made = config(history, base=base, steps={1: STEP_TIME}, layers=2, epoch=NOW)
    assert [line.created for line in made.history] == [BASE_TIME, NOW, NOW]
    alone = config(history[:1], base=base, epoch=NOW)
    assert alone.created == alone.history[-1].created == NOW
    assert config((), base=base, epoch=NOW).created == BASE_TIME


def test_where_nothing_has_a_time_the_image_has_none():
    line = PlannedHistory(created_by="ENV a=b")
    for made in (config((line,), layers=0), config((line,), base=(History(created_by="base"),))):
        assert made.created == made.history[-1].created == ""
        assert b'"created"' not in made.encode()


def test_lines_of_squashed_steps_have_no_layer_but_their_times():
    history = (
        PlannedHistory(created_by="RUN x", step=1, is_squashed=True),
        PlannedHistory(created_by="ENV a=b"),
        PlannedHistory(created_by="squash", step=2),
    )
    made = config(history, steps={1: STEP_TIME, 2: NOW}, layers=2)
    assert [(line.created, line.empty_layer) for line in made.history[1:]] == [
        (STEP_TIME, True),
        (STEP_TIME, True),
        (NOW, False),
    ]
    assert made.history[0].comment == "buildkit.exporter.image.v0"  # of the base's layer


def test_a_base_that_tells_too_little_gets_a_line_for_each_layer():
    made = config((PlannedHistory(created_by="RUN x", step=1),), steps={1: STEP_TIME}, layers=3)
    assert sum(not line.empty_layer for line in made.history) == 3
    assert made.history[0].comment == "buildkit.exporter.image.v0"


def test_the_stored_image_holds_together():
    store = MemoryStore()
    made = config((PlannedHistory(created_by="ENV a=b"),), layers=0)
    descriptor, image_id = put_image(made, [], store)
    image = read_image(store, descriptor, AMD64)
    check_image(image, store)
    assert image.id == image_id
