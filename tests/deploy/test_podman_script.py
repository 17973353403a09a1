"""tools/ops/podman.sh where there is no engine, or one that cannot start: it fails, and says why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.shipped import ROOT

NEEDED = ("bash", "dirname", "env", "sed", "cat", "cksum", "cut", "printf", "mkdir", "id", "grep")
ENGINE = ("podman", "buildah", "crun", "mmdebstrap", "openssl")
WHY = "Error: crun: cgroups in hybrid mode not supported"


class Checkout:
    """A copy of the scripts in a tree of its own, with a PATH that holds only what they need."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bin = root / "bin"
        self._bin.mkdir()
        (root / "tools" / "ops").mkdir(parents=True)
        for name in NEEDED:
            found = shutil.which(name)
            assert found, name
            (self._bin / name).symlink_to(found)
        for script in ("debian.sh", "ops/podman.sh"):
            shutil.copy(ROOT / "tools" / script, root / "tools" / script)

    def tool(self, name: str, script: str = "exit 0") -> None:
        path = self._bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def with_engine(self) -> None:
        """Every tool is there, and the base too; what a container does is up to the test. No namespace is made, so
        whoever runs the test is root enough."""
        self.tool("id", "echo 0")
        for name in ENGINE:
            self.tool(name)
        self.tool("mmdebstrap", 'for file in "$@"; do [[ "$file" == *.tar ]] && echo base >"$file"; done; exit 0')
        self.tool("unshare", 'shift 3; [[ "$1" == bash ]] && shift 3; shift; exec "$@"')
        for name in ("mktemp", "mv", "rm", "awk"):
            found = shutil.which(name)
            assert found, name
            (self._bin / name).symlink_to(found)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "tools" / "ops" / "podman.sh"), *arguments],
            env={"PATH": str(self._bin)},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_without_an_engine_and_a_way_to_install_one_setup_fails_and_says_so(checkout: Checkout) -> None:
    told = checkout.run("setup")
    assert told.returncode == 1
    assert (
        "NO CONTAINER ENGINE: buildah podman crun mmdebstrap openssl not found, and there is no apt-get" in told.stderr
    )


def test_nothing_is_run_without_an_engine(checkout: Checkout) -> None:
    told = checkout.run("run", "cat", "/dev/null")
    assert told.returncode == 1
    assert "NO CONTAINER ENGINE: podman is not installed" in told.stderr


def test_packages_that_cannot_be_installed_are_named_with_the_reason(checkout: Checkout) -> None:
    checkout.tool("tail", 'exec /usr/bin/env -i /bin/cat "${@: -1}"')
    checkout.tool("apt-get", '[[ "$*" == *update* ]] && exit 0; echo "E: Unable to locate package podman"; exit 100')
    told = checkout.run("setup")
    assert told.returncode == 1
    assert "E: Unable to locate package podman" in told.stderr
    assert "could not be installed" in told.stderr


def test_an_engine_that_cannot_start_a_container_fails_with_its_own_words(checkout: Checkout) -> None:
    checkout.with_engine()
    checkout.tool("podman", f'[[ "$1" != run ]] || {{ echo "{WHY}" >&2; exit 126; }}')
    told = checkout.run("setup")
    assert told.returncode == 1
    assert f"NO CONTAINER ENGINE: podman cannot start a container: {WHY}" in told.stderr


def test_a_container_that_prints_nothing_has_not_started(checkout: Checkout) -> None:
    checkout.with_engine()
    told = checkout.run("setup")
    assert told.returncode == 1
    assert "podman cannot start a container: it printed nothing" in told.stderr


def test_an_engine_that_starts_one_is_found_ready(checkout: Checkout) -> None:
    checkout.with_engine()
    checkout.tool("podman", '[[ "$1" != run ]] || echo started')
    told = checkout.run("setup")
    assert (told.returncode, "a container starts" in told.stderr) == (0, True), told.stderr


def test_who_is_not_root_is_told_so_before_the_engine_is_asked(checkout: Checkout) -> None:
    checkout.with_engine()
    checkout.tool("id", "echo 1000")
    checkout.tool("podman", f'echo asked >>"{checkout.root}/asked"')
    told = checkout.run("setup")
    assert told.returncode == 1
    assert "NO CONTAINER ENGINE: run it as root." in told.stderr
    assert not (checkout.root / "asked").exists()


def test_without_an_order_it_says_what_it_does(checkout: Checkout) -> None:
    told = checkout.run()
    assert told.returncode == 2
    assert "tools/ops/podman.sh setup" in told.stderr


@pytest.mark.parametrize("script", ["ops/podman.sh", "ops/image.sh", "ops/sbom.sh"])
def test_no_mirror_is_named_in_the_scripts(script: str) -> None:
    text = (ROOT / "tools" / script).read_text(encoding="utf-8").replace("http://127.0.0.1", "").replace("unix://", "")
    assert "://" not in text
