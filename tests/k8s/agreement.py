"""What several files say of one thing has to be the same thing. Each check yields what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml
from typer.main import get_command

from client.relay.config import RelayConfig
from client.relay.health import LIVENESS
from client.relay.metrics import RelayMetrics
from mesh.check.nodes import labels, maps, number, text, texts
from mesh.resources import Map, Resource
from serving.flags import UsageError, parse
from sightline.cli import app
from tests.k8s.reach import PROMETHEUS, PROXY_PORTS, may, peer_of
from tests.k8s.rendered import K8S, ROOT, Objects, container_ports, containers, of, selected, template

SIDECAR_DRAIN_S = 5  # istio-proxy's terminationDrainDuration
ENDPOINTS_S = 5  # until every proxy has dropped a pod that ends
SPIFFE = re.compile(r"cluster\.local/ns/([\w-]+)/sa/([\w-]+)")


def main_container(workload: Resource) -> Map:
    return maps(template(workload), "spec", "containers")[0]


def arguments(workload: Resource) -> dict[str, str]:
    """Options by name, without dashes."""
    return {a.lstrip("-").partition("=")[0]: a.partition("=")[2] for a in _args(workload)}


def _args(workload: Resource) -> list[str]:
    return [str(a) for a, _ in texts(main_container(workload), "args")]


def ports(objects: Objects) -> Iterator[str]:
    """Services, probes, the mesh's policies and the programs name ports that containers have."""
    workloads = of(objects, "Deployment")
    for service in of(objects, "Service", ""):
        for workload in selected(workloads, labels(service.spec, "selector")):
            have = container_ports(workload)
            for port in maps(service.spec, "ports"):
                target = port.get("targetPort", port["port"])
                if target not in have and target not in have.values():
                    yield f"{service}: {workload} has no port {target}"
                if target in have and have[str(target)] != port["port"]:
                    yield f"{service}: port {port['port']} is {have[str(target)]} in {workload}"
    for workload in workloads:
        for container in containers(workload):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                found = number(container, probe, "grpc", "port")
                if found is not None and found not in container_ports(workload).values():
                    yield f"{workload}: {probe} asks port {found:g}, which the container has not"
    for policy in of(objects, "AuthorizationPolicy"):
        chosen = selected(workloads, labels(policy.spec, "selector", "matchLabels"))
        for rule in maps(policy.spec, "rules"):
            for to in maps(rule, "to"):
                for number_, _ in texts(to, "operation", "ports"):
                    for workload in chosen if policy.namespace == "object-detection" else ():
                        if int(number_) not in container_ports(workload).values():
                            yield f"{policy}: {workload} has no port {number_}"
    for network in of(objects, "NetworkPolicy"):
        own = selected(workloads, labels(network.spec, "podSelector", "matchLabels"))
        known = {*PROXY_PORTS, *(port for w in own for port in container_ports(w).values())}
        for rule in maps(network.spec, "ingress"):
            for entry in maps(rule, "ports"):
                if entry.get("port") not in known:
                    yield f"{network}: nobody listens on {entry.get('port')}"


def programs(objects: Objects) -> Iterator[str]:
    """Arguments are the programs' own, and say what the containers say."""
    config = RelayConfig()
    services = {f"{s.name}.{s.namespace}.svc.cluster.local": s for s in of(objects, "Service", "")}
    for workload in of(objects, "Deployment"):
        given, have = arguments(workload), container_ports(workload)
        if workload.name == "object-detection-client":
            yield from (f"{workload}: {problem}" for problem in _relay_refuses(_args(workload)))
            image = re.split("[@:]", text(main_container(workload), "image").rpartition("/")[2])[0]
            if image != (wanted := "relay-rollout" if "shadow-percent" in given else "relay"):
                yield f"{workload}: its image is {image}, its arguments want {wanted}"
            host, _, port = given["target"].rpartition(":")
            if host not in services or int(port) not in {
                p["port"] for p in maps(services[host].spec, "ports")
            }:
                yield f"{workload}: --target {given['target']} is no Service's port"
            if int(given["listen"].rpartition(":")[2]) != have["grpc"] or have["http"] != config.http_port:
                yield f"{workload}: it listens on other ports than the container says"
            for probe in ("startupProbe", "livenessProbe"):
                if text(main_container(workload), probe, "grpc", "service") != LIVENESS:
                    yield f"{workload}: its {probe} depends on the model servers"
            continue
        yield from (f"{workload}: {problem}" for problem in _server_refuses(_args(workload)))
        cpus = text(main_container(workload), "resources", "limits", "cpu")
        for kind in ("intra", "inter"):
            if given.get(f"tensorflow_{kind}_op_parallelism") != cpus:
                yield f"{workload}: {kind}-op threads are not the {cpus} CPUs of its limit"
        if set(have.values()) != {8500, 8501} or not _image_listens():
            yield f"{workload}: its ports are not the image's"


def _relay_refuses(args: list[str]) -> Iterator[str]:
    try:
        get_command(app).commands["relay"].make_context("relay", args)  # type: ignore[attr-defined]
    except Exception as error:  # Typer's own class has no public name
        yield f"sightline relay: {error}"


def _server_refuses(args: list[str]) -> Iterator[str]:
    try:
        yield from (f"tensorflow_model_server has no flag {unknown}" for unknown in parse(args).unknown)
    except UsageError as error:
        yield f"tensorflow_model_server: {error}"


def _image_listens() -> bool:
    file = (ROOT / "Dockerfile").read_text()
    return '"--port=8500"' in file and '"--rest_api_port=8501"' in file


def identities(objects: Objects) -> Iterator[str]:
    """Pods run as ServiceAccounts that are there, and SPIFFE ids in policies are pods' accounts."""
    accounts = {(a.namespace, a.name) for a in of(objects, "ServiceAccount")}
    used = {(w.namespace, text(template(w), "spec", "serviceAccountName")) for w in of(objects, "Deployment")}
    for account in sorted(used - accounts):
        yield f"no ServiceAccount {'/'.join(account)}"
    for account in sorted(accounts - used):
        yield f"nobody uses ServiceAccount {'/'.join(account)}"
    for policy in of(objects, "AuthorizationPolicy"):
        for namespace, account in SPIFFE.findall(json.dumps(policy.spec)):
            if namespace == "object-detection" and (namespace, account) not in used:
                yield f"{policy}: no pod runs as {namespace}/{account}"


def ways(objects: Objects) -> Iterator[str]:
    """What the mesh allows the network allows too: each principal's pods reach each port."""
    workloads = of(objects, "Deployment")
    peers = {
        f"cluster.local/ns/{w.namespace}/sa/{text(template(w), 'spec', 'serviceAccountName')}": peer_of(w)
        for w in workloads
    } | {"cluster.local/ns/monitoring/sa/prometheus": PROMETHEUS}
    for policy in of(objects, "AuthorizationPolicy"):
        chosen = selected(workloads, labels(policy.spec, "selector", "matchLabels"))
        if policy.namespace != "object-detection" or not labels(policy.spec, "selector", "matchLabels"):
            continue
        for rule in maps(policy.spec, "rules"):
            callers = [
                p for f in maps(rule, "from") for p, _ in texts(f, "source", "principals") if p in peers
            ]
            numbers = [int(p) for t in maps(rule, "to") for p, _ in texts(t, "operation", "ports")]
            for caller, port, workload in [(c, n, w) for c in callers for n in numbers for w in chosen]:
                if not may(objects, peers[caller], peer_of(workload), port):
                    yield f"{policy}: {caller} may call {workload} on {port}, and no NetworkPolicy lets it"


def endings(objects: Objects) -> Iterator[str]:
    """A pod has the time that its parts take to end, one after the other."""
    config = RelayConfig()
    for workload in of(objects, "Deployment"):
        grace = number(template(workload), "spec", "terminationGracePeriodSeconds") or 30
        pause = number(main_container(workload), "lifecycle", "preStop", "sleep", "seconds") or 0
        relay = workload.name == "object-detection-client"
        needed = ENDPOINTS_S if relay else ENDPOINTS_S + config.predict_timeout_s
        if pause < needed:
            yield f"{workload}: preStop waits {pause:g} s, calls under way need {needed:g}"
        total = pause + (config.grace_s + 2 if relay else 0) + SIDECAR_DRAIN_S
        if grace < total:
            yield f"{workload}: {grace:g} s to end in, {total:g} needed"
        if not relay and not template(workload)["spec"].get("shareProcessNamespace"):
            yield f"{workload}: tensorflow_model_server as PID 1 ignores SIGTERM"


def limits(objects: Objects) -> Iterator[str]:
    """The relay stays below the mesh's limit on what is in flight."""
    relay = next(w for w in of(objects, "Deployment") if w.name == "object-detection-client")
    most = int(arguments(relay)["in-flight"])
    for rule in of(objects, "DestinationRule"):
        found = number(rule.spec, "trafficPolicy", "connectionPool", "http", "http2MaxRequests")
        if found is not None and found < 2 * most:
            yield f"{rule}: {found:g} requests at most, and the relay sends up to {most}"


def exposed_series() -> set[str]:
    """Names that the relay and the server put on their pages."""
    relay = {sample.name for metric in RelayMetrics().registry.collect() for sample in metric.samples}
    relay |= {metric.name for metric in RelayMetrics().registry.collect()}
    source = (ROOT / "serving" / "metrics.py").read_text()
    server = {
        f"{name}{end}"
        for name in re.findall(r'"(:tensorflow:[\w:]+)"', source)
        for end in ("", "_sum", "_count")
    }
    return relay | server


def adapter_metrics() -> dict[str, str]:
    """What the metrics adapter offers for pods: name to the series that it is made of."""
    values = yaml.safe_load(
        (K8S / "components/monitoring/install/prometheus-adapter-values.yaml").read_text()
    )
    found = {}
    for rule in values["rules"]["custom"]:
        series = re.search(r'__name__="([^"]+)"|^([\w:]+)\{', rule["seriesQuery"])
        assert series is not None, rule
        found[rule["name"]["as"]] = series[1] or series[2]
    return found


def scaling(objects: Objects) -> Iterator[str]:
    """Scalers' metrics exist, and KEDA decides as the HorizontalPodAutoscalers do."""
    offered, series = adapter_metrics(), exposed_series()
    for name, source in offered.items():
        if source not in series:
            yield f"the adapter's {name} is made of {source}, which nobody exposes"
    for scaler in of(objects, "HorizontalPodAutoscaler"):
        for metric in maps(scaler.spec, "metrics"):
            if (name := text(metric, "pods", "metric", "name")) not in offered:
                yield f"{scaler}: the adapter does not offer {name or 'this kind of metric'}"
    for scaler in of(objects, "ScaledObject"):
        for trigger in maps(scaler.spec, "triggers"):
            for name in re.findall(r"[\w:]+(?=\{)", text(trigger, "metadata", "query")):
                if name not in series:
                    yield f"{scaler}: nobody exposes {name}"


CHECKS = {check.__name__: check for check in (ports, programs, identities, ways, endings, limits, scaling)}
