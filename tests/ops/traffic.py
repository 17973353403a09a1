"""Which traffic NetworkPolicies let through: a small reading of what a network plugin does with them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.ops.manifests import Manifests, Object, matches

Direction = Literal["ingress", "egress"]


@dataclass(frozen=True)
class Peer:
    """One end: a pod with its labels and those of its namespace, or an address outside the cluster."""

    name: str
    namespace: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    own: bool = False
    """In the namespace of the policies."""


@dataclass(frozen=True)
class Flow:
    """A connection from one end to a port of the other, and whether it has to get through."""

    source: Peer
    target: Peer
    port: int
    wanted: bool
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.source.name} to {self.target.name}, {self.protocol} {self.port}"


def ends(manifests: Manifests, flow: Flow) -> list[bool]:
    """Whether each end allows it. An end outside the namespace is not ours to ask."""
    told = []
    if flow.source.own:
        told.append(_allowed(manifests, "egress", flow))
    if flow.target.own:
        told.append(_allowed(manifests, "ingress", flow))
    return told


def _allowed(manifests: Manifests, direction: Direction, flow: Flow) -> bool:
    pod, other = (flow.source, flow.target) if direction == "egress" else (flow.target, flow.source)
    policies = [
        one["spec"]
        for one in manifests.all("NetworkPolicy")
        if direction.capitalize() in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], pod.labels)
    ]
    rules = [rule for policy in policies for rule in policy.get(direction, [])]
    # A pod that no policy of the direction selects is open.
    return not policies or any(_takes(rule, direction, other, flow) for rule in rules)


def _takes(rule: Object, direction: Direction, other: Peer, flow: Flow) -> bool:
    """No peers named is every peer, and no ports is every port."""
    peers, ports = rule.get("from" if direction == "ingress" else "to", []), rule.get("ports", [])
    return (not peers or any(_is(peer, other) for peer in peers)) and (
        not ports or any((one["protocol"], one["port"]) == (flow.protocol, flow.port) for one in ports)
    )


def _is(peer: Mapping[str, Any], other: Peer) -> bool:
    if "ipBlock" in peer:
        return bool(other.address) and _within(peer["ipBlock"], ipaddress.ip_address(other.address))
    if other.address:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], other.namespace):
            return False
    elif not other.own:
        return False
    return matches(peer.get("podSelector", {}), other.labels)


def _within(block: Mapping[str, Any], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in ipaddress.ip_network(excepted) for excepted in block.get("except", [])
    )
