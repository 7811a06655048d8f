"""V24, CVE-2022-4122, CVE-2022-4123: an ignore file that is a link to a file of somebody else."""

import pytest

from wcbuild.errors import WcbuildError
from wcbuild.inputs import read_ignore


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
def test_errors_do_not_tell_what_is_in_it(tmp_path, name):
    (tmp_path / "secret").write_text("hush[\n!\n")
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(WcbuildError, match="is a link that leads out of") as caught:
        read_ignore(tmp_path / "context", tmp_path / "context/Dockerfile")
    assert "hush" not in str(caught.value)
