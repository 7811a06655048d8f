"""The OCI distribution conformance suites: no failure, and nothing skipped that we claim."""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from certificates import Authority

pytestmark = pytest.mark.peers

NOT_CLAIMED = {
    # Manifests whose children are missing: the specification lets a registry refuse them.
    "sparse-manifests",
}
CASES = 650
"""The suite has some seven hundred; fewer mean that it did not get far."""


@pytest.fixture
def program():
    """Find a suite's program."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture(params=["open", "basic", "token", "tls"])
def variables(request, new_registry, htpasswd, tmp_path):
    """A registry of each kind; returns the variables that lead the suite to it."""
    settings, variables = {}, {"OCI_TLS": "disabled"}
    if request.param in ("basic", "token"):
        settings = {"htpasswd": htpasswd, "tokens": request.param == "token"}
        variables |= {"OCI_USERNAME": "ali", "OCI_PASSWORD": "open sesame"}
        # A token names the repositories it is for, and so never means any of them.
        variables["MOUNTS"] = "0" if request.param == "token" else "1"
    if request.param == "tls":
        authority = Authority(tmp_path)
        certificate, key = authority.issue("127.0.0.1")
        settings = {"tls_certificate": certificate, "tls_key": key}
        variables = {"OCI_TLS": "enabled", "SSL_CERT_FILE": str(authority.file)}
    registry = new_registry(**settings)
    return {**variables, "OCI_REGISTRY": registry.host}


@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_conforms_to(program, variables, tmp_path, version):
    run = subprocess.run(
        [program("conformance")],
        env={
            **os.environ,
            **variables,
            "OCI_VERSION": version,
            "OCI_RESULTS_DIR": str(tmp_path / "results"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    failures = [line for line in run.stdout.splitlines() if ": FAIL" in line]
    assert not failures
    assert run.returncode == 0
    cases = list(ET.parse(tmp_path / "results/junit.xml").getroot().iter("testcase"))
    bad = [case.get("name") for case in cases if {c.tag for c in case} & {"failure", "error"}]
    skipped = [case.get("name", "") for case in cases if case.find("skipped") is not None]
    assert not bad
    assert not [name for name in skipped if not any(part in name for part in NOT_CLAIMED)]
    assert len(cases) > CASES
    disabled = re.findall(r"^  ([A-Z].*?)\.*: +Disabled$", run.stdout, re.MULTILINE)
    of_dev = {"Manifest put with tag params", "Tag Param", "Tag Param sha512", "Blob upload cancel"}
    assert set(disabled) - of_dev <= {"Sparse Manifests"}
    assert version != "dev" or set(disabled) <= {"Sparse Manifests"}


def test_conforms_to_the_suite_of_1_1_0(program, variables, tmp_path):
    scheme = "http" if variables["OCI_TLS"] == "disabled" else "https"
    run = subprocess.run(
        [program("conformance-1.1.0"), "--ginkgo.no-color"],
        env={
            **os.environ,
            **{name: value for name, value in variables.items() if name != "OCI_TLS"},
            "OCI_ROOT_URL": f"{scheme}://{variables['OCI_REGISTRY']}",
            "OCI_NAMESPACE": "conformance/one",
            "OCI_CROSSMOUNT_NAMESPACE": "conformance/two",
            "OCI_AUTOMATIC_CROSSMOUNT": variables.get("MOUNTS", "1"),
            "OCI_HIDE_SKIPPED_WORKFLOWS": "0",
            "OCI_REPORT_DIR": str(tmp_path),
            **{
                f"OCI_TEST_{part}": "1"
                for part in ("PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT")
            },
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    # Those left out are for registries that one cannot push to, and for the other kind of mount.
    assert "75 Passed | 0 Failed | 0 Pending | 4 Skipped" in run.stdout
