"""terraform/ is well formed, valid, and passes its own tests, which notice what must not be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.dockerfile import images
from tests.k8s.test_checkov import CHECKOV, run_checkov

ROOT = Path(__file__).parents[2]
ONLINE = "SIGHTLINE_TERRAFORM_ONLINE"  # `make terraform` sets it: the provider may come from its registry
PROVIDER = "registry.terraform.io/hashicorp/aws/5.100.0"
# What breaks, the text that does it, and the run of terraform's own tests that says so.
DEFECTS = {
    "what_happened_is_kept": ("network.tf", '"ALL"', '"ACCEPT"'),
    "api_server_is_private": ("cluster.tf", "length(var.api_public_cidrs) > 0\n", "true\n"),
    "everything_is_encrypted": ("nodes.tf", "encrypted   = true", "encrypted   = false"),
    "images_stay_what_they_are": ("registry.tf", '"IMMUTABLE"', '"MUTABLE"'),
    "models_are_nobody_elses": (
        "models.tf",
        "restrict_public_buckets = true",
        "restrict_public_buckets = false",
    ),
    "roles_can_no_more_than_they_must": ("roles.tf", '["s3:GetObject"]', '["s3:*"]'),
    "nobody_publishes_without_a_repository": ("release.tf", 'var.repository == "" ? 0 : 1', "1"),
    "nodes": (
        "nodes.tf",
        'http_tokens                 = "required"',
        'http_tokens                 = "optional"',
    ),
    "gpu_nodes": ("nodes.tf", "tainted = true", "tainted = false"),
    "one_zone": ("variables.tf", "length(var.zones) >= 2 && ", ""),
}

# What Checkov finds and we keep; the reason beside each.
CHECKOV_ALLOWED = {
    "CKV_AWS_18",  # the store's access log: CloudTrail's data events say it, and are the account's to switch on
    "CKV_AWS_144",  # the store in two regions: a model can be exported again, and images hold it too
    "CKV2_AWS_62",  # the store's notifications: nothing here reacts to a new model
}

pytestmark = [
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed"),
    pytest.mark.timeout(300),
]


def plugins() -> list[Path]:
    """Folders in which a machine keeps the provider, so that no registry is asked."""
    places = [*Path("/opt").glob("*"), *Path("/usr/share").glob("*"), Path.home() / ".terraform.d/plugins"]
    return [place for place in places if (place / PROVIDER).is_dir()]


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "TF_CLI_CONFIG_FILE"} | {"CHECKPOINT_DISABLE": "1"}
    command = ["terraform", f"-chdir={folder}", *arguments, "-no-color"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of terraform/ with its provider."""
    if not plugins() and ONLINE not in os.environ:
        pytest.skip(f"no local {PROVIDER}; make terraform fetches it")
    folder = tmp_path_factory.mktemp("terraform") / "terraform"
    shutil.copytree(ROOT / "terraform", folder, ignore=shutil.ignore_patterns(".terraform*"))
    local = [f"-plugin-dir={plugins()[0]}"] if plugins() else []
    done = terraform(folder, "init", "-backend=false", *local)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder / ".terraform")  # the provider has 700 MB where it is no link


def runs(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What `terraform test` said of each run: pass or fail."""
    return dict(re.findall(r'run "(\w+)"\.\.\. (\w+)', done.stdout))


def test_format() -> None:
    done = terraform(ROOT / "terraform", "fmt", "-check", "-recursive")
    assert (done.returncode, done.stdout) == (0, "")


def test_valid(initialised: Path) -> None:
    done = terraform(initialised, "validate")
    assert done.returncode == 0, done.stderr
    assert "The configuration is valid" in done.stdout


def test_own_tests_pass(initialised: Path) -> None:
    done = terraform(initialised, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(DEFECTS) <= runs(done).keys()
    assert set(runs(done).values()) == {"pass"}


def test_own_tests_notice(initialised: Path, tmp_path: Path) -> None:
    """All defects at once: each fails the run that is there for it."""
    broken = tmp_path / "terraform"
    shutil.copytree(initialised, broken, symlinks=True)
    for name, before, after in DEFECTS.values():
        text = (broken / name).read_text()
        assert before in text
        (broken / name).write_text(text.replace(before, after))
    done = terraform(broken, "test")
    assert done.returncode == 1
    found = runs(done)
    assert {name: found[name] for name in DEFECTS} == dict.fromkeys(DEFECTS, "fail")


@pytest.mark.skipif(CHECKOV is None, reason="Checkov is not installed: make .venv-checkov/stamp")
def test_checkov_finds_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "terraform"
    shutil.copytree(ROOT / "terraform", folder, ignore=shutil.ignore_patterns(".terraform*", "tests"))
    assert checkov(folder) == CHECKOV_ALLOWED
    open_to_all = (folder / "models.tf").read_text().replace("block_public_acls       = true", "")
    (folder / "models.tf").write_text(open_to_all)
    assert "CKV_AWS_53" in checkov(folder)


def checkov(folder: Path) -> set[str]:
    """The ids of the checks that fail."""
    report = run_checkov("--directory", str(folder), "--framework", "terraform")
    return {check["check_id"] for check in report["results"]["failed_checks"]}


def test_images_are_those_that_are_built() -> None:
    """The registry's repositories and `make images`' default are one list."""
    default = re.search(
        r'variable "images".*?default\s+= \[(.+?)\]', (ROOT / "terraform/variables.tf").read_text(), re.S
    )
    assert default
    assert set(images()) == set(re.findall(r'"([^"]+)"', default[1]))
