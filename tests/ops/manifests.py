"""What deploy/k8s comes to: rendered by the real kubectl, and looked at as objects."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "prod")
KUBECTL = ROOT / ".nidan" / "tools" / "kube" / "kubectl"
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding")

Object = dict[str, Any]


def rendered(folder: Path) -> str:
    """YAML of all objects. Raises CalledProcessError where kustomize refuses."""
    assert KUBECTL.exists(), "`make ops-kube` installs what these tests need, and runs them"
    run = subprocess.run([str(KUBECTL), "kustomize", str(folder)], capture_output=True, check=True, text=True)
    return run.stdout


@cache
def overlay_text(name: str) -> str:
    return rendered(K8S / "overlays" / name)


@cache
def _parsed(text: str) -> list[Object]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


@dataclass(frozen=True)
class Manifests:
    """The objects of an overlay."""

    objects: list[Object]

    @classmethod
    def of(cls, text: str) -> Manifests:
        """Fresh objects each time: a test may break them."""
        return cls(copy.deepcopy(_parsed(text)))

    @classmethod
    def overlay(cls, name: str) -> Manifests:
        return cls.of(overlay_text(name))

    def all(self, kind: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        (found,) = [one for one in self.all(kind) if one["metadata"]["name"] == name]
        return found

    def names(self, kind: str) -> list[str]:
        return [one["metadata"]["name"] for one in self.all(kind)]

    @property
    def namespace(self) -> str:
        (found,) = self.names("Namespace")
        return str(found)

    @property
    def deployments(self) -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in self.all("Deployment")}

    @property
    def pods(self) -> dict[str, Object]:
        """The pod's spec, by its Deployment."""
        return {name: one["spec"]["template"]["spec"] for name, one in self.deployments.items()}

    @property
    def containers(self) -> dict[str, Object]:
        """The one container of each Deployment."""
        found = {}
        for name, pod in self.pods.items():
            (found[name],) = pod["containers"]
        return found

    def labels(self, deployment: str) -> dict[str, str]:
        """Of its pods."""
        return dict(self.deployments[deployment]["spec"]["template"]["metadata"]["labels"])

    def settings(self, deployment: str) -> dict[str, str]:
        """What its ConfigMaps set; raises ValueError for a ConfigMap that is not there."""
        told: dict[str, str] = {}
        for source in self.containers[deployment].get("envFrom", []):
            told |= self.named("ConfigMap", source["configMapRef"]["name"])["data"]
        return told

    def selected(self, labels: Mapping[str, str]) -> list[str]:
        """Deployments whose pods carry all these labels."""
        return [name for name in self.deployments if labels.items() <= self.labels(name).items()]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label selector of matchLabels and matchExpressions with `In`; an empty one takes all."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, f"a form that this reader does not know: {selector}"
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", f"an operator that this reader does not know: {expression}"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def selectors(manifests: Manifests) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, selector) for every one that is meant for pods of this namespace."""
    for one in manifests.objects:
        where, spec = f"{one['kind']} {one['metadata']['name']}", one.get("spec", {})
        match one["kind"]:
            case "Service":
                yield where, {"matchLabels": spec["selector"]}
            case "PodDisruptionBudget":
                yield where, spec["selector"]
            case "Deployment":
                for rule in spec["template"]["spec"].get("topologySpreadConstraints", []):
                    yield f"{where} ({rule['topologyKey']})", rule["labelSelector"]
            case "NetworkPolicy":
                yield where, spec["podSelector"]
                for rule in (*spec.get("ingress", []), *spec.get("egress", [])):
                    for peer in (*rule.get("from", []), *rule.get("to", [])):
                        if "podSelector" in peer and "namespaceSelector" not in peer:
                            yield f"{where} (peer)", peer["podSelector"]
