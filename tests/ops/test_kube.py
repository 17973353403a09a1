"""deploy/k8s: rendered by the real kubectl, held to schemas, to the rules of kube_rules and to processes that run."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks import footprint
from lesson.v1 import lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.settings import SettingsError, load
from tests.deploy.shipped import MODULES, defaults, settings_class, written
from tests.ops import kube_rules
from tests.ops.kube_rules import CALLS_LIMIT, RULES, TRIO, Rule, effective
from tests.ops.manifests import K8S, OVERLAYS, ROOT, Manifests, Object, overlay_text, rendered
from tests.services.processes import Process, start

pytestmark = pytest.mark.ops

VERSIONS = ("1.30", "1.34", "1.37")
VALIDATE = ROOT / ".venv-ops-kube" / "bin" / "kubernetes-validate"
CRDS = ROOT / "tests" / "ops" / "crds"
CUSTOM = ("monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io", "cert-manager.io")
EXAMPLES = tuple(sorted((K8S / "examples").glob("*.yaml")))


def objects(text: str) -> list[Object]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


def everything() -> list[Object]:
    """Of all overlays and examples."""
    texts = [*map(overlay_text, OVERLAYS), *(path.read_text(encoding="utf-8") for path in EXAMPLES)]
    return [one for text in texts for one in objects(text)]


def is_custom(one: Object) -> bool:
    return one["apiVersion"].split("/")[0] in CUSTOM


# --- schemas --------------------------------------------------------------------------------------------------


def validated(folder: Path, version: str, those: list[Object]) -> subprocess.CompletedProcess[str]:
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(those), encoding="utf-8")
    command = [str(VALIDATE), "--kubernetes-version", version, "--strict", str(file)]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def validated_custom(those: list[Object]) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    assert node, "Node.js validates the custom resources"
    command = [node, str(CRDS / "validate.mjs")]
    return subprocess.run(command, input=json.dumps(those), capture_output=True, check=False, text=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid_for_kubernetes(version: str, tmp_path: Path) -> None:
    own = [one for one in everything() if not is_custom(one)]
    run = validated(tmp_path, version, own)
    assert run.returncode == 0, run.stdout + run.stderr
    # It counts a kind that it does not know as passed; each line of these is one object against that version.
    assert (run.stdout + run.stderr).count(f"against version {version}") == len(own)
    assert "skip" not in (run.stdout + run.stderr).lower()


@pytest.mark.parametrize(
    ("kind", "path", "key", "value"),
    [
        ("PodDisruptionBudget", ["spec"], "maxUnavailble", 1),
        ("Deployment", ["spec", "template", "spec", "containers", 0, "livenessProbe", "grpc"], "port", "health"),
        ("Service", ["spec"], "clusterIp", "None"),
        ("NetworkPolicy", ["spec", "ingres"], "from", []),
    ],
)
def test_what_is_not_valid_for_kubernetes_is_refused(
    kind: str, path: list[Any], key: str, value: object, tmp_path: Path
) -> None:
    one = Manifests.overlay("prod").all(kind)[0]
    put(one, [*path, key], value)
    assert validated(tmp_path, "1.37", [one]).returncode != 0


def test_every_custom_resource_is_valid_for_its_crd() -> None:
    custom = [one for one in everything() if is_custom(one)]
    assert {one["kind"] for one in custom} >= {
        "ServiceMonitor",
        "PrometheusRule",
        "ScaledObject",
        "GRPCRoute",
        "HTTPRoute",
    }
    run = validated_custom(custom)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("ScaledObject", ["spec", "scaleTargetRef"], None, "must have required property 'scaleTargetRef'"),
        ("ScaledObject", ["spec", "triggers", 0, "metricTyp"], "Value", ".spec.triggers[0].metricTyp is no field"),
        ("ScaledObject", ["spec", "fallback", "behavior"], "highest", "must be equal to one of the allowed values"),
        ("ServiceMonitor", ["spec", "endpoints", 0, "port"], 9100, "must be string"),
        ("ServiceMonitor", ["spec", "endpoint"], [], ".spec.endpoint is no field"),
        ("PrometheusRule", ["spec", "groups", 0, "name"], None, "must have required property 'name'"),
    ],
)
def test_what_is_not_valid_for_its_crd_is_refused(kind: str, path: list[Any], value: object, told: str) -> None:
    one = Manifests.overlay("prod").all(kind)[0]
    put(one, path, value)
    run = validated_custom([one])
    assert run.returncode == 1
    assert told.replace("'", "") in run.stdout.replace("'", "")


def test_a_kind_without_a_schema_is_refused() -> None:
    run = validated_custom([{"apiVersion": "keda.sh/v1alpha1", "kind": "Scaler", "metadata": {"name": "x"}}])
    assert (run.returncode, run.stdout) == (2, "Scaler/x: no schema for keda.sh/v1alpha1\n")


# --- meaning --------------------------------------------------------------------------------------------------


def put(one: Any, path: list[Any], value: object) -> None:
    """Sets what is at the path, making objects on the way; None takes it away."""
    for key in path[:-1]:
        one = one.setdefault(key, {}) if isinstance(one, dict) else one[key]
    if value is None:
        del one[path[-1]]
    else:
        one[path[-1]] = value


Break = Callable[[Manifests], None]


def at(kind: str, name: str, path: list[Any], value: object) -> Break:
    """The object with another value there."""
    return lambda manifests: put(manifests.named(kind, name), path, value)


def setting(deployment: str, variable: str, value: str | None) -> Break:
    def broken(manifests: Manifests) -> None:
        (source,) = manifests.containers[deployment]["envFrom"]
        put(manifests.named("ConfigMap", source["configMapRef"]["name"]), ["data", variable], value)

    return broken


def pod(deployment: str, path: list[Any], value: object) -> Break:
    return at("Deployment", deployment, ["spec", "template", "spec", *path], value)


def container(deployment: str, path: list[Any], value: object) -> Break:
    return pod(deployment, ["containers", 0, *path], value)


def without(kind: str, name: str) -> Break:
    return lambda manifests: manifests.objects.remove(manifests.named(kind, name))


def again(kind: str, name: str, **metadata: object) -> Break:
    """A second one like it, under another name."""

    def broken(manifests: Manifests) -> None:
        other = copy.deepcopy(manifests.named(kind, name))
        other["metadata"] |= {"name": f"{name}-again", **metadata}
        manifests.objects.append(other)

    return broken


def env(deployment: str, name: str, value: str) -> Break:
    return lambda manifests: (
        manifests.containers[deployment].setdefault("env", []).append({"name": name, "value": value})
    )


def trigger(name: str, key: str, value: str) -> Break:
    return at("ScaledObject", name, ["spec", "triggers", 0, "metadata", key], value)


def secret(manifests: Manifests) -> None:
    manifests.objects.append(
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x", "namespace": manifests.namespace}}
    )


OTHER = {"app.kubernetes.io/component": "other"}
R = kube_rules
BROKEN: list[tuple[Rule, str, Break]] = [
    (R.selectors_select, "prod", at("Service", "content", ["spec", "selector"], OTHER)),
    (R.selectors_select, "prod", at("PodDisruptionBudget", "content", ["spec", "selector"], {"matchLabels": OTHER})),
    (
        R.selectors_select,
        "dev",
        at("NetworkPolicy", "gateway-to-stages", ["spec", "podSelector", "matchLabels"], OTHER),
    ),
    (R.selectors_select, "prod", at("Deployment", "gateway", ["spec", "selector", "matchLabels"], OTHER)),
    (
        R.selectors_select,
        "prod",
        at("Deployment", "gateway", ["spec", "selector", "matchLabels"], {"app.kubernetes.io/name": "nidan"}),
    ),
    (R.services_lead_to_ports, "prod", at("Service", "content", ["spec", "ports", 0, "targetPort"], "rpc")),
    (R.services_lead_to_ports, "dev", at("Service", "content", ["spec", "ports", 0, "port"], 80)),
    (R.ports_are_those_of_the_settings, "prod", container("enhancer", ["ports", 0, "containerPort"], 50053)),
    (R.ports_are_those_of_the_settings, "dev", container("offline-model", ["ports", 0, "containerPort"], 50081)),
    (R.stages_are_found_in_turns, "prod", setting("gateway", "CONTENT_ADDRESS", "content:50051")),
    (R.stages_are_found_in_turns, "prod", setting("gateway", "ENHANCER_ADDRESS", None)),
    (R.stages_are_found_in_turns, "prod", at("Service", "enhancer", ["spec", "clusterIP"], None)),
    (R.stages_are_found_in_turns, "dev", setting("content", "OFFLINE_MODEL_URL", "http://offline:50080/v1")),
    (R.everything_is_in_the_one_namespace, "prod", at("Service", "content", ["metadata", "namespace"], "default")),
    (R.runs_real_modules, "prod", container("content", ["command"], ["python", "-m", "content"])),
    (R.sets_only_what_is_read, "prod", setting("content", "AI_STAGE1_TIMEOUT", "60")),
    (R.sets_only_what_is_read, "prod", env("gateway", "OPENAI_API_KEY", "")),
    (R.agrees_on_what_services_share, "dev", setting("content", "CANDO_AI_STAGE1_PROVIDER", None)),
    (R.agrees_on_what_services_share, "prod", setting("gateway", "AI_STAGE1_MAX_OUTPUT_TOKENS", "4000")),
    (R.listens_where_other_pods_reach_it, "prod", setting("content", "BIND", None)),
    (R.keeps_secrets_out_of_sight, "prod", secret),
    (R.keeps_secrets_out_of_sight, "prod", setting("content", "OPENAI_API_KEY", "sk")),
    (R.keeps_secrets_out_of_sight, "prod", env("gateway", "OPENAI_API_KEY", "sk")),
    (R.keeps_secrets_out_of_sight, "prod", container("content", ["env", 0, "valueFrom"], {"fieldRef": {}})),
    (R.files_that_settings_name_are_mounted, "prod", setting("gateway", "GATEWAY_KEYS_FILE", "/etc/keys.toml")),
    (R.files_that_settings_name_are_mounted, "prod", container("content", ["volumeMounts"], [])),
    (R.files_that_settings_name_are_mounted, "prod", container("content", ["volumeMounts", 0, "subPath"], "tls.crt")),
    (R.callers_have_keys_or_are_anonymous_on_purpose, "dev", setting("gateway", "GATEWAY_ALLOW_ANONYMOUS", None)),
    (R.callers_have_keys_or_are_anonymous_on_purpose, "prod", setting("gateway", "GATEWAY_ALLOW_ANONYMOUS", "true")),
    (R.callers_have_keys_or_are_anonymous_on_purpose, "prod", setting("gateway", "GATEWAY_TLS_CERT_FILE", None)),
    (R.callers_have_keys_or_are_anonymous_on_purpose, "prod", setting("enhancer", "TLS_CA_FILE", None)),
    (R.probes_ask_the_health_port, "prod", container("gateway", ["livenessProbe", "grpc", "port"], 50050)),
    (R.probes_ask_the_health_port, "prod", container("gateway", ["livenessProbe", "grpc", "service"], "lesson.v1.X")),
    (R.probes_ask_the_health_port, "prod", container("content", ["readinessProbe", "grpc", "service"], "content")),
    (R.probes_ask_the_health_port, "prod", container("content", ["startupProbe"], None)),
    (
        R.every_container_is_probed_where_it_listens,
        "dev",
        container("offline-model", ["readinessProbe", "httpGet", "port"], 8080),
    ),
    (R.has_time_to_end_what_it_began, "prod", pod("gateway", ["terminationGracePeriodSeconds"], 320)),
    (R.has_time_to_end_what_it_began, "prod", pod("enhancer", ["terminationGracePeriodSeconds"], 90)),
    (R.has_time_to_end_what_it_began, "prod", setting("content", "AI_STAGE1_TIMEOUT_SECONDS", "240")),
    (R.has_time_to_end_what_it_began, "prod", container("content", ["lifecycle"], None)),
    (R.rolls_out_by_surging, "prod", at("Deployment", "content", ["spec", "strategy", "rollingUpdate"], None)),
    (R.lets_a_node_be_drained, "prod", at("PodDisruptionBudget", "content", ["spec", "maxUnavailable"], 0)),
    (
        R.lets_a_node_be_drained,
        "prod",
        lambda manifests: manifests.named("PodDisruptionBudget", "content").update(
            spec={
                "minAvailable": "100%",
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": manifests.named("PodDisruptionBudget", "content")["spec"]["selector"],
            }
        ),
    ),
    (R.lets_a_node_be_drained, "prod", without("PodDisruptionBudget", "gateway")),
    (R.lets_a_node_be_drained, "prod", again("PodDisruptionBudget", "gateway")),
    (
        R.lets_a_node_be_drained,
        "dev",
        at("PodDisruptionBudget", "content", ["spec", "unhealthyPodEvictionPolicy"], None),
    ),
    (R.spreads_over_zones_and_nodes, "prod", pod("content", ["topologySpreadConstraints", 0, "matchLabelKeys"], None)),
    (R.spreads_over_zones_and_nodes, "prod", pod("content", ["topologySpreadConstraints", 1, "topologyKey"], "rack")),
    (
        R.spreads_over_zones_and_nodes,
        "prod",
        pod("content", ["topologySpreadConstraints", 0, "labelSelector"], {"matchLabels": OTHER}),
    ),
    (R.is_restricted, "prod", at("Namespace", "nidan", ["metadata", "labels"], {})),
    (R.is_restricted, "prod", pod("content", ["securityContext", "runAsUser"], 0)),
    (R.is_restricted, "prod", pod("content", ["securityContext", "seccompProfile"], None)),
    (R.is_restricted, "prod", container("content", ["securityContext", "readOnlyRootFilesystem"], False)),
    (R.is_restricted, "prod", container("content", ["securityContext", "capabilities", "add"], ["NET_RAW"])),
    (R.is_restricted, "prod", container("content", ["securityContext", "allowPrivilegeEscalation"], True)),
    (R.is_restricted, "prod", pod("gateway", ["enableServiceLinks"], None)),
    (R.is_restricted, "prod", at("ServiceAccount", "gateway", ["automountServiceAccountToken"], None)),
    (R.is_restricted, "prod", pod("gateway", ["hostNetwork"], True)),
    (R.is_restricted, "dev", pod("gateway", ["volumes", 0], {"name": "tmp", "hostPath": {"path": "/tmp"}})),  # noqa: S108
    (R.asks_for_what_it_takes, "prod", container("content", ["resources", "requests", "memory"], None)),
    (R.asks_for_what_it_takes, "prod", container("content", ["resources", "limits"], {})),
    (R.asks_for_what_it_takes, "prod", container("content", ["resources", "limits", "memory"], "64Mi")),
    (R.asks_for_what_it_takes, "prod", container("content", ["resources", "limits", "cpu"], "1")),
    (R.its_image_is_a_version, "prod", container("content", ["image"], "registry.example/nidan:latest")),
    (R.its_image_is_a_version, "prod", container("content", ["image"], "registry.example:5000/nidan")),
    (R.replicas_have_one_owner, "prod", at("Deployment", "content", ["spec", "replicas"], 2)),
    (R.replicas_have_one_owner, "prod", without("ScaledObject", "content")),
    (R.replicas_have_one_owner, "prod", again("ScaledObject", "content")),
    (R.scales_within_reason, "prod", at("ScaledObject", "content", ["spec", "minReplicaCount"], 1)),
    (R.scales_within_reason, "prod", at("ScaledObject", "content", ["spec", "maxReplicaCount"], 2)),
    (R.scales_within_reason, "prod", at("ScaledObject", "content", ["spec", "fallback", "behavior"], "static")),
    (R.scales_within_reason, "prod", at("ScaledObject", "content", ["spec", "advanced"], None)),
    (R.scales_within_reason, "prod", at("ScaledObject", "content", ["spec", "triggers", 1], {"type": "memory"})),
    (R.scales_by_the_limit_that_the_code_has, "prod", setting("content", "CONTENT_CALLS_LIMIT", "100")),
    (R.scales_by_the_limit_that_the_code_has, "prod", trigger("gateway", "threshold", "200")),
    (R.scales_by_the_limit_that_the_code_has, "prod", trigger("gateway", "query", "sum(nidan_rpcs_in_flight)")),
    (R.scales_by_the_limit_that_the_code_has, "prod", trigger("gateway", "ignoreNullValues", "true")),
    (
        R.scales_by_the_limit_that_the_code_has,
        "prod",
        at("ScaledObject", "gateway", ["spec", "triggers", 0, "metricType"], "Value"),
    ),
    (R.every_process_is_scraped_once, "prod", at("ServiceMonitor", "nidan", ["spec", "endpoints", 0, "port"], "http")),
    (
        R.every_process_is_scraped_once,
        "prod",
        at("ServiceMonitor", "nidan", ["spec", "endpoints", 0, "relabelings"], []),
    ),
    (
        R.every_process_is_scraped_once,
        "prod",
        at("ServiceMonitor", "nidan", ["spec", "endpoints", 0, "relabelings", 0, "replacement"], "$1"),
    ),
    (R.every_process_is_scraped_once, "prod", again("Service", "gateway")),
    (R.its_rules_are_the_one_source, "prod", at("PrometheusRule", "nidan", ["spec", "groups", 0, "name"], "x")),
    (R.its_dashboards_are_found, "prod", at("ConfigMap", "nidan-dashboards", ["metadata", "labels"], {})),
    (R.its_dashboards_are_found, "prod", at("ConfigMap", "nidan-dashboards", ["data", "services.json"], None)),
    *(
        (R.traffic_is_what_it_has_to_be, overlay, broken)
        for overlay in OVERLAYS
        for broken in (
            without("NetworkPolicy", "nothing-else"),
            without("NetworkPolicy", "names"),
            without("NetworkPolicy", "gateway-from-callers"),
            without("NetworkPolicy", "gateway-to-stages"),
            without("NetworkPolicy", "content-from-gateway"),
            without("NetworkPolicy", "enhancer-from-gateway"),
            without("NetworkPolicy", "stages-to-providers"),
            without("NetworkPolicy", "metrics-from-monitoring"),
            without("NetworkPolicy", "traces-to-monitoring"),
            at("NetworkPolicy", "names", ["spec", "egress", 0, "ports"], [{"protocol": "TCP", "port": 53}]),
            at("NetworkPolicy", "gateway-from-callers", ["spec", "ingress", 0, "from"], []),
            at("NetworkPolicy", "content-from-gateway", ["spec", "ingress", 0, "ports"], []),
            at("NetworkPolicy", "stages-to-providers", ["spec", "egress", 0, "to", 0, "ipBlock", "except"], []),
            at(
                "NetworkPolicy",
                "metrics-from-monitoring",
                ["spec", "ingress", 0, "ports", 1],
                {"protocol": "TCP", "port": 1},
            ),
        )
    ),
    (R.traffic_is_what_it_has_to_be, "dev", without("NetworkPolicy", "stages-to-offline-model")),
    (R.traffic_is_what_it_has_to_be, "dev", without("NetworkPolicy", "offline-model-from-stages")),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_overlay_keeps_the_rule(rule: Rule, overlay: str) -> None:
    assert list(rule(Manifests.overlay(overlay))) == []


@pytest.mark.parametrize(
    ("rule", "overlay", "broken"),
    BROKEN,
    ids=[f"{rule.__name__}-{number}" for number, (rule, _, _) in enumerate(BROKEN)],
)
def test_a_rule_that_is_broken_is_told(rule: Rule, overlay: str, broken: Break) -> None:
    manifests = Manifests.overlay(overlay)
    broken(manifests)
    assert list(rule(manifests)) != []


def test_every_rule_was_broken_once() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_without_keda_there_are_two_of_each_and_every_rule_holds(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    prod = tmp_path / "deploy" / "k8s" / "overlays" / "prod"
    file = prod / "kustomization.yaml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace("  - ../../components/keda\n", ""), encoding="utf-8")
    manifests = Manifests.of(rendered(prod))
    assert manifests.all("ScaledObject") == []
    assert {name: one["spec"]["replicas"] for name, one in manifests.deployments.items()} == dict.fromkeys(TRIO, 2)
    assert [fault for rule in RULES for fault in rule(manifests)] == []


def test_autoscaling_asks_for_the_namespace_that_the_overlay_names(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    prod = tmp_path / "deploy" / "k8s" / "overlays" / "prod"
    file = prod / "kustomization.yaml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("namespace: nidan\n", "namespace: lessons\n"), encoding="utf-8"
    )
    manifests = Manifests.of(rendered(prod))
    assert manifests.namespace == "lessons"
    assert [fault for rule in RULES for fault in rule(manifests)] == []


def test_the_overlays_differ_where_they_should() -> None:
    dev, prod = map(Manifests.overlay, OVERLAYS)
    assert {name: one["spec"]["replicas"] for name, one in dev.deployments.items()} == dict.fromkeys(MODULES, 1)
    assert set(prod.deployments) == set(TRIO)
    assert "GATEWAY_KEYS_FILE" in prod.settings("gateway")
    assert all("TLS_CERT_FILE" in prod.settings(name) for name in TRIO)
    assert dev.settings("gateway")["GATEWAY_ALLOW_ANONYMOUS"] == "true"


def test_the_examples_lead_to_what_is_there() -> None:
    prod = Manifests.overlay("prod")
    ports = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
        | {port["name"] for port in one["spec"]["ports"]}
        for one in prod.all("Service")
    }
    mounted = {
        volume["secret"]["secretName"] for pod in prod.pods.values() for volume in pod["volumes"] if "secret" in volume
    }
    made = set()
    for one in (one for path in EXAMPLES for one in objects(path.read_text(encoding="utf-8"))):
        assert one["metadata"]["namespace"] == prod.namespace
        if one["kind"] == "Certificate":
            made.add(one["spec"]["secretName"])
        for backend in backends(one):
            assert backend["port"] in ports[backend["name"]]
    assert made == mounted - {"gateway-keys"}


def backends(one: Object) -> list[Object]:
    """Service and port of each route."""
    spec = one["spec"]
    if one["kind"] == "Ingress":
        paths = [path for rule in spec["rules"] for path in rule["http"]["paths"]]
        services = [path["backend"]["service"] for path in paths]
        return [{"name": service["name"], "port": service["port"]["name"]} for service in services]
    if one["kind"] in ("HTTPRoute", "GRPCRoute"):
        return [backend for rule in spec["rules"] for backend in rule["backendRefs"]]
    return []


# --- the settings, as the code takes them ---------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", TRIO)
def test_the_code_accepts_the_settings(name: str, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Manifests.overlay(overlay).settings(name)
    for variable, value in told.items():
        monkeypatch.setenv(variable, value)
    loaded = load(settings_class(MODULES[name])).model_dump(mode="json")
    taken = {variable: written(loaded[variable.lower()]) for variable in told.keys() & defaults(MODULES[name]).keys()}
    assert taken == {variable: told[variable] for variable in taken}
    assert "SHUTDOWN_DELAY_SECONDS" in taken


def test_a_setting_that_the_code_refuses_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (Manifests.overlay("prod").settings("gateway") | {"LESSON_DEADLINE_SECONDS": "10"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match="LESSON_DEADLINE_SECONDS is 10"):
        load(settings_class("gateway"))


# --- processes that run on these settings ---------------------------------------------------------------------


async def started(name: str, **changed: str) -> Process:
    """The service as dev sets it, on this machine's loopback and free ports, and ended without delay."""
    told = Manifests.overlay("dev").settings(name) | {"BIND": "127.0.0.1", "SHUTDOWN_DELAY_SECONDS": "0"}
    return await start(MODULES[name], **(told | changed))


async def asked(process: Process, service: str) -> int:
    address = f"127.0.0.1:{process.log[-1]['health_port']}"
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        return int(answer.status)


@pytest.mark.parametrize("name", TRIO)
async def test_the_service_answers_the_probes_also_when_nothing_that_it_needs_is_there(name: str) -> None:
    """The names of the other services lead nowhere here: neither readiness nor liveness may depend on them."""
    probes = Manifests.overlay("dev").containers[name]
    process = await started(name)
    try:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            status = await asked(process, probes[kind]["grpc"].get("service", ""))
            assert status == health_pb2.HealthCheckResponse.SERVING, kind
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await asked(process, MODULES[name])
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    finally:
        assert await process.end() == 0


@pytest.mark.parametrize("name", TRIO)
async def test_the_service_tells_the_load_and_the_limit_that_autoscaling_goes_by(name: str) -> None:
    manifests = Manifests.overlay("prod")
    (query,) = [
        one["metadata"]["query"]
        for one in manifests.named("ScaledObject", name)["spec"]["triggers"]
        if one["type"] == "prometheus"
    ]
    process = await started(name)
    try:
        url = f"http://127.0.0.1:{process.log[-1]['metrics_port']}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        lines = opener.open(url, timeout=5).read().decode().splitlines()
    finally:
        assert await process.end() == 0
    label = f'{{service="{MODULES[name]}"}}'
    assert label.removesuffix("}") in query
    assert f"nidan_rpcs_in_flight{label} 0.0" in lines
    assert f"nidan_rpc_limit{label} {float(effective(manifests, name, CALLS_LIMIT[name]))}" in lines


async def test_a_lesson_crosses_services_that_are_set_as_dev_sets_them() -> None:
    made: list[Process] = []

    async def add(name: str, **changed: str) -> Process:
        made.append(await started(name, **changed))
        return made[-1]

    try:
        model = await add("offline-model")
        url = f"http://127.0.0.1:{model.port}/v1"
        content, enhancer = await add("content", OFFLINE_MODEL_URL=url), await add("enhancer", OFFLINE_MODEL_URL=url)
        gateway = await add(
            "gateway",
            CONTENT_ADDRESS=f"dns:///localhost:{content.port}",
            ENHANCER_ADDRESS=f"dns:///localhost:{enhancer.port}",
        )
        options = [("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", options) as channel:
            stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
            request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
            response = await stub.GenerateLesson(request, timeout=30)
        assert response.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE
    finally:
        assert [await process.end() for process in reversed(made)] == [0] * len(made)


def test_the_memory_that_is_asked_for_is_above_what_the_processes_take() -> None:
    """After a few lessons; docs/operations.md has what was measured with as many at once as a gateway takes."""
    told = footprint.measure(one_by_one=1, at_once=3, chunk_delay_ms=0)
    dev = Manifests.overlay("dev")
    for name, container in dev.containers.items():
        asked_for = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
        peak = told[-1][1][MODULES[name]].peak_mib
        assert 20 < peak < asked_for, f"{name}: {peak:.0f} MiB"
    assert all(module in footprint.table(told) for module in MODULES.values())


# --- what is committed ----------------------------------------------------------------------------------------


def test_no_address_stands_in_the_lock_of_the_schemas() -> None:
    assert "://" not in (CRDS / "package-lock.json").read_text(encoding="utf-8")


def test_every_package_of_the_schemas_is_locked_by_its_hash() -> None:
    lock = json.loads((CRDS / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all(one.get("integrity", "").startswith("sha512-") for one in packages.values())


def test_everything_that_kube_sh_was_not_told_is_refused() -> None:
    run = subprocess.run(
        [str(ROOT / "tools" / "ops" / "kube.sh"), "apply"], capture_output=True, check=False, text=True
    )
    assert run.returncode == 2
    assert "tools/ops/kube.sh setup" in run.stderr


def test_without_npm_nothing_is_called_checked(tmp_path: Path) -> None:
    """Nothing but what the script needs before it looks for npm is on its path."""
    for name in ("tools/ops/kube.sh", "tests/ops/requirements-kube.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "cat", "dirname", "sha256sum"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    run = subprocess.run(
        [str(programs / "bash"), str(tmp_path / "tools" / "ops" / "kube.sh"), "setup"],
        env={"PATH": str(programs)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.returncode == 1
    assert "npm is needed" in run.stderr
