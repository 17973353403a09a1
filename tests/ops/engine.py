"""The image, built once a session from a checkout in which somebody left secrets; and words for asking Podman.

Runs inside `tools/ops/podman.sh run`, which makes `podman` and `buildah` work.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.shipped import ROOT

IMAGE = "localhost/nidan:ops"
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp:size=16m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--no-healthcheck",
)
"""How docker-compose.yml runs every container of ours."""

LEFT_BEHIND = (".env", "secrets/key.pem", "lesson/.env", "gateway/tls.key", ".git/config")
"""Where the canary is planted: beside the packages, and within them."""


_SCRATCH = tempfile.TemporaryDirectory(prefix="nidan-ops-")
"""Where Podman is started: its monitor writes a file `oom` there when a container takes too much."""


def run(*command: str, check: bool = True, timeout: float = 300, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command's output as text. With `check`, raises AssertionError with what it printed when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, **more)
    assert done.returncode == 0 or not check, f"{command[:3]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done


def podman(*arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return run("podman", *arguments, check=check, timeout=timeout, cwd=_SCRATCH.name)


def python(code: str, *options: str, image: str = IMAGE, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The code, run in a container of the image as hardened as the services are."""
    command = ("python", "-W", "error", "-c", code)
    return podman("run", "--rm", "--pull=never", *HARDENED, *options, image, *command, check=check)


def inspected(kind: str, name: str) -> dict[str, Any]:
    (told,) = json.loads(podman(kind, "inspect", name).stdout)
    return dict(told)


@dataclass(frozen=True)
class Built:
    """The image, and what must not be in it."""

    name: str
    canary: str
    log: str


@functools.cache
def built() -> Built:
    """Builds the image from a copy of the checkout that holds a canary in files, a build secret and a variable."""
    canary = f"canary-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        _checkout(context)
        for name in LEFT_BEHIND:
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"OPENAI_API_KEY={canary}\n", encoding="utf-8")
        secret = Path(scratch) / "secret"
        secret.write_text(canary, encoding="utf-8")
        done = run(
            *("tools/ops/image.sh", IMAGE, str(context)),
            *("--secret", f"id=key,src={secret}", "--build-arg", f"OPENAI_API_KEY={canary}"),
            cwd=ROOT,
            env={**os.environ, "OPENAI_API_KEY": canary},
            timeout=580,
        )
    return Built(IMAGE, canary, done.stdout + done.stderr)


def _checkout(target: Path) -> None:
    """What git would have of this checkout as it stands: nothing that is ignored."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def leaves(image: str, folder: Path) -> dict[str, Any]:
    """The image as it would be pushed: its layers as tar files in `folder`, and its configuration."""
    podman("save", "--format", "docker-dir", "--uncompressed", "-o", str(folder), image)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    digest = manifest["config"]["digest"].removeprefix("sha256:")
    return dict(json.loads((folder / digest).read_text(encoding="utf-8")))


def holding(folder: Path, needle: str) -> list[str]:
    """The files of `folder` in which the bytes occur."""
    block, wanted = 1 << 24, needle.encode()
    found = []
    for path in sorted(folder.iterdir()):
        rest = b""
        with path.open("rb") as file:
            while chunk := file.read(block):
                if wanted in rest + chunk:
                    found.append(path.name)
                    break
                rest = chunk[-len(wanted) :]
    return found
