"""The image, really built: what is in it, what is not, and how it runs."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.shipped import COMPOSE, ROOT, packages
from tests.ops.engine import HARDENED, Built, built, holding, inspected, leaves, podman, python, run

pytestmark = pytest.mark.ops


@pytest.fixture(scope="module")
def image() -> Built:
    return built()


# --- what it is -----------------------------------------------------------------------------------------------


def test_it_runs_by_default_as_a_numeric_user_that_is_not_root_and_asks_its_health(image: Built) -> None:
    config = inspected("image", image.name)
    assert config["User"] == "10001:10001"
    assert config["Config"]["Cmd"] == ["python", "-m", "gateway"]
    assert config["Healthcheck"]["Test"][-4:] == ["python", "-m", "servicekit.probe", "50060"]
    told = python("import os; print(os.getuid(), os.getgid(), os.getgroups())").stdout.split(maxsplit=2)
    assert told == ["10001", "10001", "[10001]\n"]


def test_its_python_imports_every_module_without_a_warning(image: Built) -> None:
    code = f"""
import importlib, pkgutil, sys
names = []
for package in {packages()}:
    path = importlib.import_module(package).__path__
    names += [package, *(found.name for found in pkgutil.walk_packages(path, package + "."))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for name in ("gateway", "content_service", "enhancer_service", "offline_model", "nidan"):
    importlib.import_module(name + ".__main__")
print(sys.version_info[:2], len(names))
"""
    version, count = re.fullmatch(r"(\(3, 13\)) (\d+)\n", python(code).stdout).groups()  # type: ignore[union-attr]
    sources = [path for package in packages() for path in (ROOT / package).rglob("*.py")]
    assert (version, int(count)) == ("(3, 13)", len(sources))


def test_every_service_says_what_is_wrong_when_it_is_started_without_a_key(image: Built) -> None:
    for module in ("content_service", "enhancer_service"):
        done = podman("run", "--rm", *HARDENED, image.name, "python", "-m", module, check=False)
        assert done.returncode == 2
        assert "OPENAI_API_KEY" in done.stderr


def test_nothing_in_it_can_be_written_but_tmp(image: Built) -> None:
    code = """
import os, sys, tempfile
for folder in (sys.prefix, "/etc", "/var", "/home", "/"):
    try:
        tempfile.TemporaryFile(dir=folder)
    except OSError:
        continue
    print("can write to", folder)
tempfile.TemporaryFile(dir="/tmp").write(b"x")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print({name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs")})
"""
    assert python(code).stdout == "{'CapEff': '0000000000000000', 'CapBnd': '0000000000000000', 'NoNewPrivs': '1'}\n"


def test_what_the_environment_needs_to_be_built_stays_behind(image: Built) -> None:
    told = json.loads(
        python("import json, importlib.metadata as m; print(json.dumps([d.name for d in m.distributions()]))").stdout
    )
    assert "nidan" in told
    assert not {"pip", "setuptools", "wheel", "pytest"} & {name.lower() for name in told}
    assert python("import os; print(os.path.exists('/tools'), os.path.exists('/build'))").stdout == "False False\n"


# --- no secret ------------------------------------------------------------------------------------------------


def test_no_secret_that_lay_about_the_build_is_in_a_layer_or_in_the_history(image: Built, tmp_path: Path) -> None:
    config = leaves(image.name, tmp_path / "saved")
    assert len(list((tmp_path / "saved").iterdir())) > 3
    assert holding(tmp_path / "saved", image.canary) == []
    told = json.dumps(config)
    assert "HEALTHCHECK" in told  # the history is there to be read
    assert not re.search(r"(KEY|SECRET|TOKEN|PASSWORD)\b", told)
    assert image.canary not in image.log


def test_a_secret_that_a_later_layer_hides_would_be_found(image: Built, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image.name}\nUSER 0\nCOPY .env /leak\nRUN rm /leak\nUSER 10001:10001\n", encoding="utf-8"
    )
    (tmp_path / ".env").write_text(image.canary, encoding="utf-8")
    run("tools/ops/image.sh", "localhost/nidan:leaky", str(tmp_path), cwd=ROOT)
    leaves("localhost/nidan:leaky", tmp_path / "saved")
    assert holding(tmp_path / "saved", image.canary)
    podman("image", "rm", "localhost/nidan:leaky")


def test_nothing_of_the_machine_that_built_it_is_in_it(image: Built) -> None:
    """pip used this machine's certificates and settings: both were lent."""
    base = run("tools/ops/podman.sh", "base", cwd=ROOT).stdout.strip()
    store = "import hashlib; print(hashlib.sha256(open('/etc/ssl/certs/ca-certificates.crt', 'rb').read()).hexdigest())"
    fresh = podman("run", "--rm", base, "python3", "-c", store).stdout
    assert python(store).stdout == fresh
    assert python("import os; print(os.path.exists('/etc/pip.conf'))").stdout == "False\n"


# --- the system's certificate authorities ---------------------------------------------------------------------

ASK = """
import asyncio
from servicekit.llm.calls import ModelRequest
from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient

async def ask():
    client = ModelClient(Provider.OPENAI, "https://localhost:{port}/v1", "sk-none")
    reply = await client.complete(ModelRequest("gpt-4.1", "s", "u", "a", 500, 10.0))
    await client.close()
    print(reply.outcome, reply.text or reply.reason)

asyncio.run(ask())
"""


class _Model(http.server.BaseHTTPRequestHandler):
    """Answers every completion in one word."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "trusted"}}
        body = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.crt, which nobody knows, and server.pem, a key and certificate for localhost of it."""
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    # Python 3.13 asks of an authority that it says what its key is for.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=Nobody's own")
    run("openssl", "req", "-x509", *key, *usage, "-keyout", "ca.key", "-out", "ca.crt", cwd=folder)
    run(
        "openssl", "req", *key[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost", cwd=folder
    )
    names = "subjectAltName=DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    (folder / "names").write_text(names, encoding="utf-8")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    run("openssl", "x509", "-req", "-in", "server.csr", *signed, "-out", "server.crt", cwd=folder)
    pem = "".join((folder / name).read_text(encoding="utf-8") for name in ("server.key", "server.crt"))
    (folder / "server.pem").write_text(pem, encoding="utf-8")
    (folder / "ca.crt").chmod(0o644)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def model_port(authority: Path) -> Iterator[int]:
    """A model server behind TLS on loopback; its certificate is of the authority."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_server_of_an_unknown_authority_is_not_trusted(image: Built, model_port: int) -> None:
    assert python(ASK.format(port=model_port)).stdout.startswith("connection ")


def test_an_authority_named_in_ssl_cert_file_is_trusted(image: Built, authority: Path, model_port: int) -> None:
    options = ("-v", f"{authority / 'ca.crt'}:/etc/nidan/ca.crt:ro", "-e", "SSL_CERT_FILE=/etc/nidan/ca.crt")
    assert python(ASK.format(port=model_port), *options).stdout == "ok trusted\n"


def test_an_authority_in_the_systems_store_is_trusted(
    image: Built, authority: Path, model_port: int, tmp_path: Path
) -> None:
    """The client asks the operating system's store, and none that came with a Python package."""
    name = "localhost/nidan:authority"
    (tmp_path / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image.name}\nUSER 0\nCOPY ca.crt /usr/local/share/ca-certificates/own.crt\n"
        "RUN update-ca-certificates\nUSER 10001:10001\n",
        encoding="utf-8",
    )
    # Without the mounts of tools/ops/image.sh: the store that is changed is the image's.
    build = ("--format", "docker", "--isolation", "chroot", "--pull-never", "--network", "host")
    run("buildah", "bud", *build, "-t", name, str(tmp_path))
    assert python(ASK.format(port=model_port), image=name).stdout == "ok trusted\n"
    podman("image", "rm", name)


# --- what is told of it ---------------------------------------------------------------------------------------

BILL = ROOT / "build" / "sbom.cdx.json"


def installed() -> set[tuple[str, str]]:
    """(name, version) of every package, as the image's own Python sees them; without nidan."""
    code = "import json, importlib.metadata as m; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    return {(normal(name), version) for name, version in json.loads(python(code).stdout) if name != "nidan"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_lists_exactly_what_the_images_python_has(image: Built) -> None:
    run("tools/ops/sbom.sh", "bill", image.name, str(BILL), cwd=ROOT)
    bill = json.loads(BILL.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "nidan"
    told = {(normal(part["name"]), part["version"]) for part in bill["components"]}
    assert told == installed()
    print(f"\n{len(told)} packages in {BILL.relative_to(ROOT)}")


def test_every_package_of_the_image_is_in_the_lock_with_this_version(image: Built) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", lock, flags=re.MULTILINE)
    assert installed() <= {(normal(name), version) for name, version in locked}


class _Advisories(http.server.BaseHTTPRequestHandler):
    """An OSV service that knows of one fault, in `faulty`; answers 500 when that is None."""

    faulty: str | None = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.send_response(500 if self.faulty is None else 200)
        self.end_headers()
        package = {"name": asked, "ecosystem": "PyPI"}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999.0"}]}]
        fault = {"id": "PLANTED-1", "summary": "planted", "affected": [{"package": package, "ranges": ranges}]}
        self.wfile.write(json.dumps({"vulns": [fault]} if asked == self.faulty else {}).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("faulty", "code", "words"),
    [
        ("aiohttp", 1, r"aiohttp \S+: PLANTED-1, mended in 999\.0"),
        ("no-such", 0, r"\d\d packages, none with a known fault"),
        (None, 3, "NOT AUDITED: the advisory service did not answer"),
    ],
)
def test_the_audit_finds_a_fault_and_says_when_it_could_not_look(
    image: Built, faulty: str | None, code: int, words: str
) -> None:
    handler = type("Advisories", (_Advisories,), {"faulty": faulty})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment = {**os.environ, "NIDAN_OSV_URL": f"http://127.0.0.1:{server.server_address[1]}/v1/query"}
    done = run("tools/ops/sbom.sh", "audit", image.name, check=False, cwd=ROOT, env=environment)
    server.shutdown()
    thread.join()
    server.server_close()
    assert (done.returncode, bool(re.search(words, done.stdout + done.stderr))) == (code, True), done


# --- limits, and Grafana's port -------------------------------------------------------------------------------


def test_a_container_that_takes_more_memory_than_it_may_is_killed(image: Built) -> None:
    code = "import sys; taken = [b'x' * 1_000_000 for _ in range({megabytes})]; print(len(taken))"
    assert python(code.format(megabytes=30), "--memory=64m").stdout == "30\n"
    assert python(code.format(megabytes=300), "--memory=64m", check=False).returncode == 137


def entrypoint() -> str:
    """Grafana's, as docker-compose.yml has it; a $ is doubled there."""
    told: list[str] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["grafana"]["entrypoint"]
    assert told[:2] == ["sh", "-c"]
    return told[2].replace("$$", "$")


@pytest.mark.parametrize("given", ["", "of the operator"])
def test_grafana_starts_with_the_operators_password_or_a_random_one(image: Built, tmp_path: Path, given: str) -> None:
    """Grafana's own image cannot be had here: its /run.sh is a stand-in that tells what it was started with."""
    (tmp_path / "run.sh").write_text('#!/bin/sh\necho "started with [$GF_SECURITY_ADMIN_PASSWORD]"\n', encoding="utf-8")
    (tmp_path / "run.sh").chmod(0o755)
    mount = ("-v", f"{tmp_path / 'run.sh'}:/run.sh:ro", "-e", f"GF_SECURITY_ADMIN_PASSWORD={given}")
    told = [
        podman("run", "--rm", *HARDENED, *mount, "--entrypoint", "sh", image.name, "-c", entrypoint()).stdout
        for _ in range(2)
    ]
    passwords = [re.findall(r"^started with \[(.*)\]$", text, flags=re.MULTILINE) for text in told]
    if given:
        assert passwords == [[given], [given]]
        assert all(given not in text.split("started with")[0] for text in told)
    else:
        ((first,), (second,)) = passwords
        assert first != second
        assert min(len(first), len(second)) >= 24
        assert f"user admin, password {first}\n" in told[0]


def test_the_port_that_the_health_check_asks_is_not_open_without_a_service(image: Built) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = podman(
            *("run", "--rm", *HARDENED, image.name),
            *("python", "-m", "servicekit.probe", str(taken.getsockname()[1])),
            check=False,
        )
    assert done.returncode == 1
