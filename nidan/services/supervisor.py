"""The trio as processes of this machine: which ports, which environment, started side by side, stopped in order.

Nothing here runs service code: each service is `python -m NAME`, told by environment variables what to do. gRPC is
imported only once the processes are under way, so that they start while we still load.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servicekit.llm.capabilities import Provider, key_variable, preset

LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0
"""A cold disk may take many seconds to give the dictionary; a service that hangs must still be told apart."""
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""
_POLL_SECONDS = 0.03
_TAIL_LINES = 10
# Below the ranges from which systems take the ports of outgoing connections, so that none of those comes between.
_PRIVATE_PORTS = range(15_000, 32_000)

# Becomes the command under a promise of the kernel's: when the parent dies, however it dies, so does the child.
# A program of its own and no preexec_fn, because our process has gRPC's threads and must not run code after a fork.
_LEASHED = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came; leaving through the `finally` blocks ends what was started."""


def raise_on_signals() -> None:
    """SIGTERM and SIGHUP raise Terminated where the main thread stands, unless they are ignored (nohup)."""

    def ended(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ended)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP that raise where they come take effect behind the block. For the main thread.

    By handlers and no signal mask: a mask would be inherited, and the child would never hear of its end.
    """
    came: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    raising = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in raising:
            signal.signal(number, lambda number, _frame: came.append(signal.Signals(number)))
        yield
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


class StartError(Exception):
    """The services could not be started; says which, why, and what to do."""


class MissingKeyError(StartError):
    """A provider without the key that it needs: names both ways on."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(
            f"{key_variable(provider)} is not set. Set it for real lessons by the models of {provider.value}, "
            "or add --offline for the built-in lessons, which need no key and cost nothing."
        )


@dataclass(frozen=True)
class Service:
    """One process, and the ports it is told to use. 0 for a port that nobody needs to know beforehand."""

    name: str
    """The module that `python -m` runs."""
    grpc_name: str
    """What its health is asked for; empty: it speaks HTTP and answers /healthz."""
    prefix: str
    """Of its port variables."""
    port: int
    health_port: int = 0
    metrics_port: int = 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def ports(self) -> dict[str, int]:
        """Variable and port, for those it has."""
        if not self.grpc_name:
            return {f"{self.prefix}_PORT": self.port}
        return {
            f"{self.prefix}_PORT": self.port,
            f"{self.prefix}_HEALTH_PORT": self.health_port,
            f"{self.prefix}_METRICS_PORT": self.metrics_port,
        }

    def is_serving(self) -> bool:
        """Whether it answers and says it serves; on its health port, always plaintext, where its own is not."""
        if not self.grpc_name:
            return _answers_http(self.port, "/healthz")
        from nidan.client import is_serving  # noqa: PLC0415 - gRPC loads while the services start

        ports = [self.port, *([self.health_port] if self.health_port else [])]
        return any(is_serving(f"{LOOPBACK}:{port}", self.grpc_name) for port in ports)


_NEED_KEYS = tuple(one for one in Provider if one is not Provider.NONE and preset(one).key == "yes")
OFFLINE_MODEL = Service("offline_model", "", "OFFLINE_MODEL", 50080)
CONTENT = Service("content_service", "lesson.v1.ContentService", "CONTENT", 50051, 50061, 9101)
ENHANCER = Service("enhancer_service", "lesson.v1.EnhancerService", "ENHANCER", 50052, 50062, 9102)
GATEWAY = Service("gateway", "lesson.v1.LessonService", "GATEWAY", 50050, 50060, 9100)
"""Each with the ports that it takes when nothing is set."""


@dataclass(frozen=True)
class Providers:
    """Who serves the models of each stage, as the environment or --offline chose it."""

    stage1: str
    stage2: str

    @classmethod
    def chosen(cls, environment: Mapping[str, str], offline: bool) -> Providers:
        """--offline is for both stages. Raises MissingKeyError: the offline model is chosen and never fallen into."""
        if offline:
            return cls(Provider.OFFLINE.value, Provider.OFFLINE.value)
        providers = cls(*(environment.get(f"CANDO_AI_{stage}_PROVIDER") or "openai" for stage in ("STAGE1", "STAGE2")))
        for provider in _NEED_KEYS:
            if providers.uses(provider) and not environment.get(key_variable(provider)):
                raise MissingKeyError(provider)
        return providers

    def uses(self, provider: Provider) -> bool:
        return provider.value in (self.stage1, self.stage2)


@dataclass(frozen=True)
class Plan:
    """What to start, in order, and what to tell it."""

    services: tuple[Service, ...]
    environment: Mapping[str, str]

    @property
    def gateway(self) -> Service:
        return self.services[-1]


def private_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """A trio for one command, on ports that are free now; nobody else is meant to find it."""
    services = _on_free_ports(_wanted(providers))
    return Plan(services, _environment(_without_access(environment), providers, services))


def enhancer_plan(environment: Mapping[str, str], romaji_style: str = "") -> Plan:
    """An enhancer for one command, and nothing beside it: the analyser alone, without key or model.

    An empty style leaves ROMAJI_STYLE to the environment.
    """
    services = _on_free_ports((ENHANCER,))
    told = _environment(_without_access(environment), Providers(Provider.NONE.value, Provider.NONE.value), services)
    return Plan(services, told | ({"ROMAJI_STYLE": romaji_style} if romaji_style else {}))


def public_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """The trio on the ports that its variables name, else on the default ones. Raises StartError."""
    services = tuple(configured(service, environment) for service in _wanted(providers))
    return Plan(services, _environment(environment, providers, services))


def _without_access(environment: Mapping[str, str]) -> dict[str, str]:
    """Without certificates, keys and limits of callers: these services serve one command on this machine."""
    return {name: value for name, value in environment.items() if not name.startswith(_ACCESS_VARIABLES)}


_ACCESS_VARIABLES = ("TLS_", "GATEWAY_TLS_", "GATEWAY_KEYS_", "GATEWAY_CALLER_", "GATEWAY_ALLOW_", "NIDAN_API_KEY")


def _on_free_ports(services: Sequence[Service]) -> tuple[Service, ...]:
    ports = free_ports(len(services))
    return tuple(
        Service(service.name, service.grpc_name, service.prefix, port)
        for service, port in zip(services, ports, strict=True)
    )


def configured(service: Service, environment: Mapping[str, str]) -> Service:
    """The service with the ports that the environment names. Raises StartError for what is no port."""
    ports = [_port(variable, environment.get(variable, ""), default) for variable, default in service.ports.items()]
    return Service(service.name, service.grpc_name, service.prefix, *ports)


def _port(variable: str, text: str, default: int) -> int:
    """0 would be a port that the others cannot be told of, so it is chosen here."""
    if not text.strip():
        return default
    if not (text.strip().isdecimal() and int(text) <= 65_535):
        raise StartError(f"{variable} must be a port from 0 to 65535, not {text[:40]!r}.")
    return int(text) or free_ports(1)[0]


def _wanted(providers: Providers) -> tuple[Service, ...]:
    model = (OFFLINE_MODEL,) if providers.uses(Provider.OFFLINE) else ()
    return (*model, CONTENT, ENHANCER, GATEWAY)


def _environment(base: Mapping[str, str], providers: Providers, services: tuple[Service, ...]) -> dict[str, str]:
    """What the services inherit. All of it stays on this machine; no key is given to a run that does not ask for it."""
    by_name = {service.name: service for service in services}
    told = dict(base)
    for provider in Provider:
        if not providers.uses(provider):
            told.pop(key_variable(provider), None)
    told |= {variable: str(port) for service in services for variable, port in service.ports.items()}
    told |= {
        "BIND": LOOPBACK,
        "CANDO_AI_STAGE1_PROVIDER": providers.stage1,
        "CANDO_AI_STAGE2_PROVIDER": providers.stage2,
    }
    told |= {
        f"{stage.prefix}_ADDRESS": by_name[stage.name].address for stage in (CONTENT, ENHANCER) if stage.name in by_name
    }
    if OFFLINE_MODEL.name in by_name:
        told["OFFLINE_MODEL_URL"] = f"http://{by_name[OFFLINE_MODEL.name].address}/v1"
    # Where a proxy is set, gRPC and HTTP would ask it for our own ports.
    for name in ("no_proxy", "NO_PROXY"):
        told[name] = ",".join(part for part in (told.get(name, ""), LOOPBACK, "localhost") if part)
    return told


def free_ports(count: int) -> list[int]:
    """So many different ports that nothing listens on now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PRIVATE_PORTS, len(_PRIVATE_PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether this machine's loopback would give the port now."""
    with socket.socket() as probe:
        # A connection that ended a minute ago holds no port, to us as to the services.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"

    def obituary(self, when: str) -> str:
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{self.service.name} {how} {when}. Its last lines ({self.log}):\n{self.last_lines()}"


@dataclass
class Trio:
    """The processes of a plan. Their output goes to NAME.log in `log_dir`; `say` is told what a person should know."""

    plan: Plan
    log_dir: Path
    say: Callable[[str], None]
    grace_seconds: float = GRACE_SECONDS
    _running: list[_Running] = field(default_factory=list)

    def start(self) -> None:
        """Starts all at once; they are not serving yet. Raises StartError when a port is taken.

        For the main thread: on Linux the services end with the thread that started them.
        """
        for service in self.plan.services:
            for variable, port in service.ports.items():
                if port and not is_free(port):
                    raise StartError(
                        f"port {port} is taken, so {service.name} cannot start; is another `nidan up` running? "
                        f"Stop what listens there, or set {variable} to another port."
                    )
        atexit.register(self.stop)
        for service in self.plan.services:
            # Else a signal between the fork and the list would leave a process that nobody ends.
            with _signals_held():
                self._running.append(self._spawn(service))

    def wait_until_serving(self, timeout_seconds: float = START_SECONDS) -> None:
        """Returns once every service says SERVING. Raises StartError as soon as one ends, or when time is up."""
        deadline = time.monotonic() + timeout_seconds
        for running in self._running:
            while not running.service.is_serving():
                self.check("before it served")
                if time.monotonic() > deadline:
                    raise StartError(
                        f"{running.service.name} does not serve after {timeout_seconds:g} s. "
                        f"Its last lines ({running.log}):\n{running.last_lines()}"
                    )
                time.sleep(_POLL_SECONDS)
        self.check("before it served")

    def check(self, when: str = "while it served") -> None:
        """Raises StartError with its last log lines when a process has ended."""
        for running in self._running:
            if running.process.poll() is not None:
                raise StartError(running.obituary(when))

    def stop(self) -> None:
        """Ends all, last started first: SIGTERM, a grace, SIGKILL. Harmless when nothing runs."""
        try:
            self._end(self._running[-1:])
            self._end(self._running[-2::-1])  # with the gateway gone nobody calls them: they may end side by side
        finally:  # a second Ctrl-C is impatience: nothing may stay behind
            for running in self._running:
                running.process.kill()
                running.process.wait()
            self._running.clear()
        atexit.unregister(self.stop)  # not before: what a third Ctrl-C leaves is ended there

    def _end(self, those: Sequence[_Running]) -> None:
        for running in those:
            running.process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        for running in those:
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say(f"{running.service.name} did not stop within {self.grace_seconds:g} s: killed")
                running.process.kill()

    def _spawn(self, service: Service) -> _Running:
        log = self.log_dir / f"{service.name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                # -P: a folder named `gateway` in the user's own directory is not ours to run.
                leashed(sys.executable, "-P", "-m", service.name),
                env=dict(self.plan.environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for us alone; we end them in order
            )
        return _Running(service, process, log)


@contextlib.contextmanager
def running(trio: Trio) -> Iterator[Trio]:
    """The trio, serving inside the block and gone behind it, however it is left. Raises StartError."""
    try:
        trio.start()
        trio.wait_until_serving()
        yield trio
    finally:
        trio.stop()


def leashed(*command: str) -> list[str]:
    """The command, so that on Linux it ends when this process does; it must be started from the main thread."""
    if platform.system() == "Linux":
        return [sys.executable, "-I", "-S", "-c", _LEASHED, str(os.getpid()), *command]
    return [*command]


def _answers_http(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1.0)  # knows no proxies
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
