"""tools/compose.sh, with a Compose of the test's own or none: nothing is fetched here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.shipped import ROOT

NEEDED = ("bash", "dirname", "env", "sed", "cat")

FAKE = """#!/usr/bin/env bash
if [[ "$1" == version ]]; then echo {version}; exit 0; fi
echo "${{OPENAI_API_KEY:-unset}} $*" >> {log}
exit {verdict}
"""


class Checkout:
    """A copy of the script in a tree of its own, with a PATH that holds only what it needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        self._bin = root / "bin"
        self._bin.mkdir()
        (root / "tools").mkdir()
        for name in NEEDED:
            found = shutil.which(name)
            assert found, name
            (self._bin / name).symlink_to(found)
        for script in ("compose.sh", "debian.sh"):
            shutil.copy(ROOT / "tools" / script, root / "tools" / script)
        (root / "docker-compose.yml").write_text("services: {}\n", encoding="utf-8")

    def with_compose(self, version: str = "2.40.1", verdict: int = 0) -> None:
        script = self._bin / "docker-compose"
        script.write_text(FAKE.format(version=version, log=self.log, verdict=verdict), encoding="utf-8")
        script.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "tools" / "compose.sh"), *arguments],
            env={"PATH": str(self._bin), "OPENAI_API_KEY": "of the caller"},
            capture_output=True,
            check=False,
            text=True,
        )

    def asked(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_compose_is_asked_with_and_without_the_example_alone(checkout: Checkout) -> None:
    checkout.with_compose()
    assert checkout.run("config").returncode == 0
    bare, example = checkout.asked()
    assert "--env-file /dev/null" in bare
    assert f"--env-file {checkout.root}/.env.example" in example
    assert all(line.startswith("unset ") and line.endswith("docker-compose.yml config -q") for line in (bare, example))


def test_what_compose_refuses_is_refused(checkout: Checkout) -> None:
    checkout.with_compose(verdict=15)
    told = checkout.run("config")
    assert told.returncode == 1
    assert "Compose refuses" in told.stderr


def test_a_file_that_is_not_there_is_refused(checkout: Checkout) -> None:
    checkout.with_compose()
    told = checkout.run("config", "elsewhere.yml")
    assert (told.returncode, told.stderr) == (1, "tools/compose.sh: no such file: elsewhere.yml\n")


@pytest.mark.parametrize("version", [None, "1.29.2"])
def test_without_compose_v2_it_says_that_nothing_was_checked(checkout: Checkout, version: str | None) -> None:
    if version:
        checkout.with_compose(version)
    told = checkout.run("config")
    assert told.returncode == 3
    assert "NOT CHECKED: no Compose v2 is installed, and there is no apt-get" in told.stderr


def test_without_an_order_it_says_what_it_does(checkout: Checkout) -> None:
    told = checkout.run()
    assert told.returncode == 2
    assert "tools/compose.sh config [FILE]" in told.stderr


@pytest.mark.parametrize("script", ["compose.sh", "debian.sh"])
def test_no_mirror_is_named_in_the_script(script: str) -> None:
    assert "://" not in (ROOT / "tools" / script).read_text(encoding="utf-8")
