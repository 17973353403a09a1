"""What must hold for a rendered overlay, as rules: each tells its faults in words, none when all is well."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import yaml

from offline_model.__main__ import DRAIN_SECONDS
from servicekit.server import server_options
from tests.deploy.compose_rules import LONGEST_CALL, port
from tests.deploy.shipped import MODULES, defaults
from tests.ops.manifests import CLUSTER_WIDE, ROOT, Manifests, Object, matches, selectors
from tests.ops.traffic import Flow, Peer, ends

Rule = Callable[[Manifests], Iterator[str]]

TRIO = tuple(LONGEST_CALL)
GRPC_NAMES = {
    "gateway": "lesson.v1.LessonService",
    "content": "lesson.v1.ContentService",
    "enhancer": "lesson.v1.EnhancerService",
}
CALLS_LIMIT = {"gateway": "LESSONS_LIMIT", "content": "CONTENT_CALLS_LIMIT", "enhancer": "ENHANCER_CALLS_LIMIT"}
RULES_FILE = ROOT / "deploy" / "prometheus" / "rules" / "nidan.yml"
SCALE_AT = 0.65
KEYS = {"OPENAI_API_KEY", "GEMINI_API_KEY", "LLAMACPP_API_KEY", "VLLM_API_KEY"}
EXIT_SECONDS = 10
"""From the end of the last call to the end of the process, with some to spare."""


def effective(manifests: Manifests, name: str, variable: str) -> str:
    """What the process goes by: the ConfigMap's value, else the code's default."""
    return manifests.settings(name).get(variable) or defaults(MODULES[name])[variable]


# --- who finds whom -------------------------------------------------------------------------------------------


def selectors_select(manifests: Manifests) -> Iterator[str]:
    for where, selector in selectors(manifests):
        if not any(matches(selector, manifests.labels(name)) for name in manifests.deployments):
            yield f"{where}: no pod has {selector}"
    for name, deployment in manifests.deployments.items():
        if not matches(deployment["spec"]["selector"], manifests.labels(name)):
            yield f"Deployment {name}: its own pods are not its own"
        if manifests.selected(deployment["spec"]["selector"]["matchLabels"]) != [name]:
            yield f"Deployment {name}: its selector takes other pods too"


def services_lead_to_ports(manifests: Manifests) -> Iterator[str]:
    for service in manifests.all("Service"):
        spec, name = service["spec"], service["metadata"]["name"]
        for target in manifests.selected(spec["selector"]):
            ports = {one["name"]: one["containerPort"] for one in manifests.containers[target]["ports"]}
            for one in spec["ports"]:
                if one["targetPort"] not in ports:
                    yield f"Service {name}: {target} has no port {one['targetPort']}"
                elif one["port"] != ports[one["targetPort"]]:
                    yield f"Service {name}: a headless Service translates no ports, and {one['name']} differs"


def ports_are_those_of_the_settings(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        wanted = (
            {"grpc": port(name), "health": port(name, "HEALTH_PORT"), "metrics": port(name, "METRICS_PORT")}
            if name in TRIO
            else {"http": port(name)}
        )
        told = {one["name"]: str(one["containerPort"]) for one in container["ports"]}
        if told != wanted:
            yield f"{name}: ports {told}, the code's are {wanted}"


def stages_are_found_in_turns(manifests: Manifests) -> Iterator[str]:
    """dns:/// and a headless Service: with anything else, all calls of a gateway go to one pod."""
    for variable, stage in (("CONTENT_ADDRESS", "content"), ("ENHANCER_ADDRESS", "enhancer")):
        address = manifests.settings("gateway").get(variable, "")
        if address != f"dns:///{stage}:{port(stage)}":
            yield f"gateway: {variable} is {address}"
        if manifests.named("Service", stage)["spec"].get("clusterIP") != "None":
            yield f"Service {stage} is not headless"
    for name in ("content", "enhancer"):
        url = manifests.settings(name).get("OFFLINE_MODEL_URL", "")
        if url and (
            urlsplit(url).hostname not in manifests.names("Service") or f":{port('offline-model')}/" not in url
        ):
            yield f"{name}: OFFLINE_MODEL_URL is {url}"


def everything_is_in_the_one_namespace(manifests: Manifests) -> Iterator[str]:
    for one in manifests.objects:
        namespace = one["metadata"].get("namespace")
        if one["kind"] not in CLUSTER_WIDE and namespace != manifests.namespace:
            yield f"{one['kind']} {one['metadata']['name']} is in {namespace}"


# --- the process and its settings -----------------------------------------------------------------------------


def runs_real_modules(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        if container["command"] != ["python", "-m", MODULES[name]]:
            yield f"{name} runs {container['command']}"


def sets_only_what_is_read(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        given = {*manifests.settings(name), *(one["name"] for one in container.get("env", []))}
        for variable in sorted(given - defaults(MODULES[name]).keys()):
            yield f"{name} is given {variable}, which it does not read"


def agrees_on_what_services_share(manifests: Manifests) -> Iterator[str]:
    """Also what one of two is not told: it then goes by its default."""
    for shared in ("CANDO_AI_STAGE1_PROVIDER", "CANDO_AI_STAGE2_PROVIDER", "AI_STAGE1_MAX_OUTPUT_TOKENS"):
        told = {name: effective(manifests, name, shared) for name in TRIO if shared in defaults(MODULES[name])}
        if len(set(told.values())) != 1:
            yield f"{shared} differs: {told}"


def listens_where_other_pods_reach_it(manifests: Manifests) -> Iterator[str]:
    for name in manifests.deployments:
        if manifests.settings(name).get("BIND") != "0.0.0.0":
            yield f"{name}: BIND is not 0.0.0.0"


def keeps_secrets_out_of_sight(manifests: Manifests) -> Iterator[str]:
    if manifests.all("Secret"):
        yield "a Secret is in the repository"
    for name, container in manifests.containers.items():
        if KEYS & manifests.settings(name).keys():
            yield f"{name}: a key stands in a ConfigMap"
        given = {one["name"]: one.get("valueFrom", {}) for one in container.get("env", [])}
        if given.keys() != (KEYS if name in ("content", "enhancer") else set()):
            yield f"{name} is given {sorted(given)}"
        for variable, source in given.items():
            if source.get("secretKeyRef", {}).get("key") != variable:
                yield f"{name}: {variable} is taken from {source}"
        if any("configMapRef" not in source for source in container.get("envFrom", [])):
            yield f"{name}: a whole Secret is handed over"


def files_that_settings_name_are_mounted(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        volumes = {one["name"]: one for one in manifests.pods[name]["volumes"]}
        mounts = {one["mountPath"]: volumes.get(one["name"], {}) for one in container["volumeMounts"]}
        for variable, path in manifests.settings(name).items():
            folder = str(path).rpartition("/")[0]
            if variable.endswith("_FILE") and "secret" not in mounts.get(folder, {}):
                yield f"{name}: {variable} is {path}, and no Secret is mounted there"
        if any("subPath" in one for one in container["volumeMounts"]):
            yield f"{name}: a file mounted by subPath never changes"


def callers_have_keys_or_are_anonymous_on_purpose(manifests: Manifests) -> Iterator[str]:
    """Callers have keys over TLS, or GATEWAY_ALLOW_ANONYMOUS=true; mutual TLS is complete on both sides, or off."""
    settings = manifests.settings("gateway")
    anonymous = settings.get("GATEWAY_ALLOW_ANONYMOUS") == "true"
    if anonymous == bool(settings.get("GATEWAY_KEYS_FILE")):
        yield "gateway: neither keys nor anonymous, or both"
    if settings.get("GATEWAY_KEYS_FILE") and not settings.get("GATEWAY_TLS_CERT_FILE"):
        yield "gateway: callers send keys without TLS"
    whole = {"TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE"}
    given = {name: frozenset(whole & manifests.settings(name).keys()) for name in TRIO}
    if set(given.values()) not in ({frozenset()}, {frozenset(whole)}):
        yield f"mutual TLS is half there: { {name: sorted(files) for name, files in given.items()} }"


# --- life and death of a pod ----------------------------------------------------------------------------------


def probes_ask_the_health_port(manifests: Manifests) -> Iterator[str]:
    for name in TRIO:
        container = manifests.containers[name]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind, {}).get("grpc", {})
            if str(probe.get("port")) != port(name, "HEALTH_PORT"):
                yield f"{name}: {kind} asks port {probe.get('port')}"
            wanted = "" if kind == "livenessProbe" else GRPC_NAMES[name]
            if probe.get("service", "") != wanted:
                yield f"{name}: {kind} asks for {probe.get('service', '')!r}"


def every_container_is_probed_where_it_listens(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        ports = {one["containerPort"] for one in container["ports"]} | {one["name"] for one in container["ports"]}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind, {})
            asked = (probe.get("grpc") or probe.get("httpGet") or {}).get("port")
            if asked not in ports:
                yield f"{name}: {kind} asks port {asked}, which the container does not have"


def has_time_to_end_what_it_began(manifests: Manifests) -> Iterator[str]:
    for name, pod in manifests.pods.items():
        before = manifests.containers[name].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if before < 5:
            yield f"{name}: SIGTERM comes {before} s after its end was told, and callers still come"
        longest = float(effective(manifests, name, LONGEST_CALL[name])) if name in TRIO else DRAIN_SECONDS
        delay = float(effective(manifests, name, "SHUTDOWN_DELAY_SECONDS")) if name in TRIO else 0.0
        needed = before + delay + longest + EXIT_SECONDS
        if pod["terminationGracePeriodSeconds"] < needed:
            yield f"{name}: killed after {pod['terminationGracePeriodSeconds']} s, and it may need {needed:g}"
        if name in TRIO and pod["terminationGracePeriodSeconds"] * 1000 <= _age_grace_ms(longest):
            yield f"{name}: killed before a connection's age has had its grace"


def _age_grace_ms(longest: float) -> int:
    return int(dict(server_options(longest))["grpc.max_connection_age_grace_ms"])


def rolls_out_by_surging(manifests: Manifests) -> Iterator[str]:
    for name, deployment in manifests.deployments.items():
        if deployment["spec"]["strategy"] != {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }:
            yield f"{name}: a rollout takes pods away before new ones are ready"


def lets_a_node_be_drained(manifests: Manifests) -> Iterator[str]:
    for name in TRIO:
        budgets = [
            one["spec"]
            for one in manifests.all("PodDisruptionBudget")
            if matches(one["spec"]["selector"], manifests.labels(name))
        ]
        if len(budgets) != 1:
            yield f"{name}: {len(budgets)} disruption budgets"  # two for one pod block every eviction
        for budget in budgets:
            if _evictable(budget, _least_replicas(manifests, name)) < 1:
                yield f"{name}: no pod may ever be evicted"
            if budget.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
                yield f"{name}: a pod that is not ready holds up a node's drain"


def _evictable(budget: Object, replicas: int) -> int:
    if "maxUnavailable" in budget:
        return _share(budget["maxUnavailable"], replicas)
    return replicas - _share(budget.get("minAvailable", 0), replicas)


def _share(told: int | str, replicas: int) -> int:
    """Kubernetes rounds a percentage up, for both."""
    return math.ceil(replicas * int(told.rstrip("%")) / 100) if isinstance(told, str) else told


def _least_replicas(manifests: Manifests, name: str) -> int:
    for scaled in manifests.all("ScaledObject"):
        if scaled["spec"]["scaleTargetRef"]["name"] == name:
            return int(scaled["spec"]["minReplicaCount"])
    return int(manifests.deployments[name]["spec"].get("replicas", 1))


def spreads_over_zones_and_nodes(manifests: Manifests) -> Iterator[str]:
    for name in TRIO:
        constraints = manifests.pods[name].get("topologySpreadConstraints", [])
        if {one["topologyKey"] for one in constraints} != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{name}: not spread over zones and nodes"
        for one in constraints:
            if one["whenUnsatisfiable"] != "ScheduleAnyway" or one.get("matchLabelKeys") != ["pod-template-hash"]:
                yield f"{name}: {one['topologyKey']} would hold up a rollout"
            if not matches(one["labelSelector"], manifests.labels(name)):
                yield f"{name}: {one['topologyKey']} counts other pods"


# --- what it may and what it takes ----------------------------------------------------------------------------


def is_restricted(manifests: Manifests) -> Iterator[str]:
    """Pod Security `restricted`, and more."""
    (namespace,) = manifests.all("Namespace")
    for mode in ("enforce", "audit", "warn"):
        if namespace["metadata"].get("labels", {}).get(f"pod-security.kubernetes.io/{mode}") != "restricted":
            yield f"the namespace does not {mode} restricted"
    for name, pod in manifests.pods.items():
        container, security = manifests.containers[name], pod["securityContext"]
        inner = container["securityContext"]
        account = manifests.named("ServiceAccount", name)
        kept = {
            "numeric user": security.get("runAsUser", 0) >= 10_000 and security.get("runAsNonRoot") is True,
            "seccomp": security.get("seccompProfile") == {"type": "RuntimeDefault"},
            "escalation": inner.get("allowPrivilegeEscalation") is False and not inner.get("privileged"),
            "read-only root": inner.get("readOnlyRootFilesystem") is True,
            "capabilities": inner.get("capabilities") == {"drop": ["ALL"]},
            "host": not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "token": pod.get("automountServiceAccountToken") is False
            and account.get("automountServiceAccountToken") is False
            and pod["serviceAccountName"] == name,
            "service links": pod.get("enableServiceLinks") is False,
            "volumes": all(set(one) - {"name"} <= {"emptyDir", "secret", "configMap"} for one in pod["volumes"]),
            "/tmp": any(one["mountPath"] == "/tmp" for one in container["volumeMounts"]),  # noqa: S108
        }
        yield from (f"{name}: {key}" for key, holds in kept.items() if not holds)


def asks_for_what_it_takes(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        told = container.get("resources", {})
        requests, limits = told.get("requests", {}), told.get("limits", {})
        if not (requests.get("cpu") and requests.get("memory")):
            yield f"{name}: requests {requests}"
        elif not limits.get("memory") or _mebibytes(limits["memory"]) < _mebibytes(requests["memory"]):
            yield f"{name}: no limit of memory above the request"
        if "cpu" in limits:
            yield f"{name}: a limit of CPU makes lessons wait on an idle node"


def _mebibytes(told: str) -> int:
    assert re.fullmatch(r"\d+Mi", told), f"write it in Mi: {told}"
    return int(told[:-2])


def its_image_is_a_version(manifests: Manifests) -> Iterator[str]:
    for name, container in manifests.containers.items():
        image = container["image"]
        if not re.search(r"(@sha256:[0-9a-f]{64}|:[\w][\w.-]*)$", image) or image.endswith(":latest"):
            yield f"{name}: image {image}"


# --- how many -------------------------------------------------------------------------------------------------


def replicas_have_one_owner(manifests: Manifests) -> Iterator[str]:
    scaled = [one["spec"]["scaleTargetRef"]["name"] for one in manifests.all("ScaledObject")]
    if manifests.all("HorizontalPodAutoscaler") or len(set(scaled)) != len(scaled):
        yield "two autoscalers for one Deployment"
    for name, deployment in manifests.deployments.items():
        if ("replicas" in deployment["spec"]) == (name in scaled):
            yield f"{name}: replicas in the Deployment and KEDA, or in neither"
    yield from (f"{name} is no Deployment" for name in scaled if name not in manifests.deployments)


def scales_within_reason(manifests: Manifests) -> Iterator[str]:
    for one in manifests.all("ScaledObject"):
        name, spec = one["metadata"]["name"], one["spec"]
        if not 2 <= spec["minReplicaCount"] < spec["maxReplicaCount"]:
            yield f"{name}: from {spec['minReplicaCount']} to {spec['maxReplicaCount']}"
        fallback = spec.get("fallback", {})
        if (
            fallback.get("behavior") != "currentReplicasIfHigher"
            or not spec["minReplicaCount"] <= fallback.get("replicas", 0) <= spec["maxReplicaCount"]
        ):
            yield f"{name}: without Prometheus it falls to {fallback}"
        behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
        if behavior.get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < 300:
            yield f"{name}: scales down too fast"
        if "cpu" not in [trigger["type"] for trigger in spec["triggers"]]:
            yield f"{name}: nothing but Prometheus says when to scale"


def scales_by_the_limit_that_the_code_has(manifests: Manifests) -> Iterator[str]:
    """nidan_rpc_limit is set once at start from these settings, and is the same in every pod."""
    for one in manifests.all("ScaledObject"):
        name = one["metadata"]["name"]
        (trigger,) = [trigger for trigger in one["spec"]["triggers"] if trigger["type"] == "prometheus"]
        wanted = SCALE_AT * int(effective(manifests, name, CALLS_LIMIT[name]))
        if float(trigger["metadata"]["threshold"]) != wanted or trigger.get("metricType") != "AverageValue":
            yield f"{name}: threshold {trigger['metadata']['threshold']}, 65 % of {CALLS_LIMIT[name]} is {wanted:g}"
        labels = f'service="{MODULES[name]}",namespace="{manifests.namespace}"'
        if trigger["metadata"]["query"] != f"sum(nidan_rpcs_in_flight{{{labels}}})":
            yield f"{name}: asks {trigger['metadata']['query']}"
        if trigger["metadata"].get("ignoreNullValues") != "false":
            yield f"{name}: takes no answer for no load"


# --- who sees what --------------------------------------------------------------------------------------------


def every_process_is_scraped_once(manifests: Manifests) -> Iterator[str]:
    for monitor in manifests.all("ServiceMonitor"):
        spec = monitor["spec"]
        for endpoint in spec["endpoints"]:
            found = [
                name
                for service in manifests.all("Service")
                if matches(spec["selector"], service["metadata"].get("labels", {}))
                and endpoint["port"] in [one.get("name") for one in service["spec"]["ports"]]
                for name in manifests.selected(service["spec"]["selector"])
            ]
            if sorted(found) != sorted(TRIO):
                yield f"port {endpoint['port']} is scraped of {found}"
            if {"action": "labeldrop", "regex": "service"} not in endpoint.get("relabelings", []):
                yield "the operator's label `service` hides ours"
            jobs, asked = _jobs(endpoint), _jobs_asked_for()
            # Prometheus matches the whole of a label.
            if not all(any(re.fullmatch(one, job) for job in jobs) for one in asked) or not all(
                any(re.fullmatch(one, job) for one in asked) for job in jobs
            ):
                yield f"the jobs are {sorted(jobs)}, and the rules ask for {sorted(asked)}"


def _jobs(endpoint: Object) -> set[str]:
    """The jobs that a relabeling by the component's label makes; empty where there is none."""
    by_component = "__meta_kubernetes_service_label_app_kubernetes_io_component"
    for one in endpoint.get("relabelings", []):
        if (one.get("targetLabel"), one.get("sourceLabels")) == ("job", [by_component]):
            return {str(one["replacement"]).replace("$1", name) for name in TRIO}
    return set()


def _jobs_asked_for() -> set[str]:
    """As regular expressions."""
    return set(re.findall(r'job=~?"([^"]+)"', RULES_FILE.read_text(encoding="utf-8")))


def its_rules_are_the_one_source(manifests: Manifests) -> Iterator[str]:
    source = yaml.load(RULES_FILE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    for rule in manifests.all("PrometheusRule"):
        if rule["spec"]["groups"] != source["groups"]:
            yield "the PrometheusRule is not deploy/prometheus/rules/nidan.yml: run `make ops-rules`"


def its_dashboards_are_found(manifests: Manifests) -> Iterator[str]:
    """Kubernetes takes a ConfigMap of 1 MiB at most."""
    if not manifests.all("ServiceMonitor"):
        return
    found = [one for one in manifests.all("ConfigMap") if one["metadata"].get("labels", {}).get("grafana_dashboard")]
    shipped = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")
    }
    if [one["metadata"]["labels"]["grafana_dashboard"] for one in found] != ["1"] or found[0]["data"] != shipped:
        yield "Grafana's sidecar does not find the dashboards"
    if sum(len(text.encode()) for text in shipped.values()) > 1_000_000:
        yield "the dashboards do not fit into a ConfigMap"


def traffic_is_what_it_has_to_be(manifests: Manifests) -> Iterator[str]:
    own = {name: Peer(name, labels=manifests.labels(name), own=True) for name in manifests.deployments}
    own |= {"a pod of another kind": Peer("a pod of another kind", own=True)}
    for flow in (*_wanted_flows(own), *_refused_flows(own)):
        told = ends(manifests, flow)
        # What is not wanted is stopped at both ends: one policy that is lost opens nothing.
        if told != [flow.wanted] * len(told):
            yield f"{flow} {'is stopped' if flow.wanted else 'gets through one end at least'}"


CALLERS = Peer("callers", {"nidan-callers": "true"})
MONITORING = Peer("monitoring", {"nidan-monitoring": "true"})
STRANGER = Peer("a stranger", {"kubernetes.io/metadata.name": "default"})
DNS = Peer("DNS", {"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"})
NODE_DNS = Peer("a node's DNS cache", address="169.254.20.10")
PROVIDERS = (Peer("a provider", address="203.0.113.9"), Peer("a provider", address="2001:db8::9"))
METADATA = Peer("the cloud's metadata", address="169.254.169.254")
INSIDE = Peer("the private network", address="10.1.2.3")


def _number(name: str, kind: str = "PORT") -> int:
    return int(port(name, kind))


def _wanted_flows(own: dict[str, Peer]) -> Iterator[Flow]:
    yield Flow(CALLERS, own["gateway"], _number("gateway"), wanted=True)
    for name in TRIO:
        yield Flow(MONITORING, own[name], _number(name, "METRICS_PORT"), wanted=True)
        yield Flow(own[name], MONITORING, 4317, wanted=True)
        for server in (DNS, NODE_DNS):
            yield Flow(own[name], server, 53, wanted=True, protocol="UDP")
            yield Flow(own[name], server, 53, wanted=True)
    for stage in ("content", "enhancer"):
        yield Flow(own["gateway"], own[stage], _number(stage), wanted=True)
        yield from (Flow(own[stage], provider, 443, wanted=True) for provider in PROVIDERS)
        if "offline-model" in own:
            yield Flow(own[stage], own["offline-model"], _number("offline-model"), wanted=True)


def _refused_flows(own: dict[str, Peer]) -> Iterator[Flow]:
    other = own["a pod of another kind"]
    yield Flow(STRANGER, own["gateway"], _number("gateway"), wanted=False)
    yield Flow(own["gateway"], PROVIDERS[0], 443, wanted=False)
    yield Flow(other, own["content"], _number("content"), wanted=False)
    yield Flow(other, PROVIDERS[0], 443, wanted=False)
    yield Flow(STRANGER, other, 80, wanted=False)
    yield Flow(own["content"], own["enhancer"], _number("enhancer"), wanted=False)
    for stage in ("content", "enhancer"):
        yield Flow(CALLERS, own[stage], _number(stage), wanted=False)
        yield Flow(own["gateway"], own[stage], _number(stage, "METRICS_PORT"), wanted=False)
        yield Flow(own[stage], PROVIDERS[0], 80, wanted=False)
        yield Flow(own[stage], METADATA, 443, wanted=False)
        yield Flow(own[stage], INSIDE, 443, wanted=False)
    for name in TRIO:
        yield Flow(STRANGER, own[name], _number(name, "METRICS_PORT"), wanted=False)
        yield Flow(CALLERS, own[name], _number(name, "METRICS_PORT"), wanted=False)
        yield Flow(own[name], STRANGER, 4317, wanted=False)
    if "offline-model" in own:
        yield Flow(own["gateway"], own["offline-model"], _number("offline-model"), wanted=False)
        yield Flow(CALLERS, own["offline-model"], _number("offline-model"), wanted=False)
        yield Flow(own["offline-model"], PROVIDERS[0], 443, wanted=False)


RULES: tuple[Rule, ...] = (
    selectors_select,
    services_lead_to_ports,
    ports_are_those_of_the_settings,
    stages_are_found_in_turns,
    everything_is_in_the_one_namespace,
    runs_real_modules,
    sets_only_what_is_read,
    agrees_on_what_services_share,
    listens_where_other_pods_reach_it,
    keeps_secrets_out_of_sight,
    files_that_settings_name_are_mounted,
    callers_have_keys_or_are_anonymous_on_purpose,
    probes_ask_the_health_port,
    every_container_is_probed_where_it_listens,
    has_time_to_end_what_it_began,
    rolls_out_by_surging,
    lets_a_node_be_drained,
    spreads_over_zones_and_nodes,
    is_restricted,
    asks_for_what_it_takes,
    its_image_is_a_version,
    replicas_have_one_owner,
    scales_within_reason,
    scales_by_the_limit_that_the_code_has,
    every_process_is_scraped_once,
    its_rules_are_the_one_source,
    its_dashboards_are_found,
    traffic_is_what_it_has_to_be,
)
