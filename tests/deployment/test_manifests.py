"""The manifests as kustomize renders them: valid, restricted, and fenced both ways."""

import importlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from files_service.operations.uploads import IN_FLIGHT_NAME

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / ".venv" / "bin" / "kubectl"
KUBERNETES = "1.32"  # the oldest whose schema the manifests must fit
OVERLAYS = ("dev", "production")
SETTINGS = {
    "gateway": "gateway.settings.Settings",
    "auth-service": "auth_service.settings.Settings",
    "items-service": "items_service.settings.Settings",
    "files-service": "files_service.settings.Settings",
    "schema-service": "schema_service.settings.Settings",
    "settings-service": "settings_service.settings.Settings",
    "relay": "items_service.relay_settings.RelaySettings",
    "migrate": "auth_service.administrator.AdministratorSettings",
}
SERVICES = frozenset(SETTINGS) - {"gateway", "relay", "migrate"}
Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Every object of one overlay."""
    rendered = subprocess.run(
        [KUBECTL, "kustomize", ROOT / "k8s" / "overlays" / request.param],
        capture_output=True,
        check=True,
        text=True,
    )
    assert rendered.stderr == ""
    return list(yaml.load_all(rendered.stdout, Loader=yaml.CSafeLoader))


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] in kinds}


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    return of_kind(manifests, "Deployment", "StatefulSet", "Job")


def pod_of(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def containers_of(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


# --- schemas -------------------------------------------------------------------------------------


def test_every_object_fits_its_schema(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        validate(manifest, KUBERNETES, strict=True)


def test_an_unknown_field_would_not_fit() -> None:
    with pytest.raises(ValidationError):
        validate(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spek": {}},
            KUBERNETES,
            strict=True,
        )


# --- Pod Security "restricted", and what goes beyond it ------------------------------------------


def faults_of(kind: str, pod: Manifest) -> Iterator[str]:
    """What the policy has against a pod. ``kind``: a Job needs no probes."""
    around = pod.get("securityContext", {})
    if pod.get("automountServiceAccountToken") is not False:
        yield "mounts a service account's token"
    if around.get("runAsNonRoot") is not True:
        yield "may run as root"
    if around.get("runAsUser", 0) == 0:
        yield "names no user"
    if around.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    for volume in pod.get("volumes", []):
        if not volume.keys() & {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}:
            yield f"volume {volume['name']} is of no allowed kind"
    for container in containers_of(pod):
        for fault in faults_of_container(container, probed=kind != "Job"):
            yield f"{container['name']}: {fault}"


def faults_of_container(container: Manifest, *, probed: bool) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    for bound in ("requests", "limits"):
        if not {"cpu", "memory"} <= resources.get(bound, {}).keys():
            yield f"no {bound}"
    if probed and not {"livenessProbe", "readinessProbe"} <= container.keys():
        yield "no probes"
    _, _, tag = container["image"].rpartition("/")[2].partition(":")
    if tag in ("", "latest"):
        yield "its image has no fixed tag"


def test_the_policy_sees_a_careless_pod() -> None:
    pod: Manifest = {
        "containers": [{"name": "x", "image": "y"}],
        "volumes": [{"name": "v", "hostPath": {}}],
    }
    assert len(list(faults_of("Deployment", pod))) == 12


def test_every_pod_is_restricted(manifests: list[Manifest]) -> None:
    found = {
        name: faults
        for name, workload in workloads(manifests).items()
        if (faults := list(faults_of(workload["kind"], pod_of(workload))))
    }
    assert found == {}


def test_the_namespace_enforces_it(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    strays = [
        m["metadata"]["name"]
        for m in manifests
        if m["kind"] != "Namespace" and m["metadata"].get("namespace") != "directoire"
    ]
    assert strays == []


def test_a_stop_waits_for_the_traffic_to_go(manifests: list[Manifest]) -> None:
    for name, deployment in of_kind(manifests, "Deployment").items():
        pod = pod_of(deployment)
        (service,) = pod["containers"]
        pause = service["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pause >= 10, name  # 5 s in the DNS, 5 s between two looks of the gateway
        assert pod["terminationGracePeriodSeconds"] >= pause + 30, name
        assert service["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert service["readinessProbe"]["httpGet"]["path"] == "/readyz"


# --- settings ------------------------------------------------------------------------------------


def _fields(path: str) -> Mapping[str, Any]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name).model_fields


def test_every_variable_is_a_setting_and_no_required_one_is_missing(
    manifests: list[Manifest],
) -> None:
    configs = of_kind(manifests, "ConfigMap")
    for name, path in SETTINGS.items():
        (service,) = pod_of(workloads(manifests)[name])["containers"]
        given: set[str] = {variable["name"] for variable in service.get("env", [])}
        for source in service["envFrom"]:
            given |= configs[source["configMapRef"]["name"]]["data"].keys()
        plain = {variable.removesuffix("_FILE").lower() for variable in given}
        fields = _fields(path)
        assert plain - fields.keys() == set(), name
        required = {field for field, info in fields.items() if info.is_required()}
        assert required - plain == set(), name


def test_every_secret_file_is_mounted(manifests: list[Manifest]) -> None:
    configs = of_kind(manifests, "ConfigMap")
    for name in SETTINGS:
        pod = pod_of(workloads(manifests)[name])
        (service,) = pod["containers"]
        mounted = {
            f"/run/secrets/directoire/{item['path']}"
            for volume in pod["volumes"]
            for item in volume.get("secret", {}).get("items", [])
        }
        data: Mapping[str, str] = {}
        for source in service["envFrom"]:
            data = {**data, **configs[source["configMapRef"]["name"]]["data"]}
        assert {value for key, value in data.items() if key.endswith("_FILE")} == mounted, name


def test_only_the_gateway_holds_the_private_key(manifests: list[Manifest]) -> None:
    holders = [
        name
        for name, workload in workloads(manifests).items()
        if "identity-private-key" in json.dumps(workload)
    ]
    assert holders == ["gateway"]


# --- availability --------------------------------------------------------------------------------


def test_several_writers_share_a_volume_only_if_it_allows_that(manifests: list[Manifest]) -> None:
    deployment = of_kind(manifests, "Deployment")["files-service"]
    (claim,) = of_kind(manifests, "PersistentVolumeClaim").values()
    several = deployment["spec"].get("replicas") != 1
    rolling = deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    if several or rolling:
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_production_survives_a_drained_node(manifests: list[Manifest]) -> None:
    """Overlays with budgets have one for each Deployment, and two replicas for it to keep one."""
    budgets = of_kind(manifests, "PodDisruptionBudget")
    scaled = of_kind(manifests, "HorizontalPodAutoscaler")
    deployments = of_kind(manifests, "Deployment")
    if not budgets:
        assert of_kind(manifests, "StatefulSet"), "only the dev overlay has no budgets"
        return
    assert budgets.keys() == deployments.keys() == {*SERVICES, "gateway", "relay"}
    for name, deployment in deployments.items():
        budget = budgets[name]["spec"]
        assert budget["minAvailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= (
            deployment["spec"]["template"]["metadata"]["labels"].items()
        )
        if name in scaled:
            assert "replicas" not in deployment["spec"]
            assert scaled[name]["spec"]["minReplicas"] >= 2
        else:
            assert deployment["spec"]["replicas"] >= 2
        assert pod_of(deployment)["topologySpreadConstraints"]


def test_uploads_scale_by_what_files_service_shows(manifests: list[Manifest]) -> None:
    scaled = of_kind(manifests, "HorizontalPodAutoscaler")
    if not scaled:
        assert of_kind(manifests, "StatefulSet"), "only the dev overlay does not scale"
        return
    metrics = scaled["files-service"]["spec"]["metrics"]
    shown = [one["pods"]["metric"]["name"] for one in metrics if one["type"] == "Pods"]
    assert shown == [IN_FLIGHT_NAME]


def test_the_gateway_sees_each_pod_of_a_service(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    assert all(services[name]["spec"]["clusterIP"] == "None" for name in SERVICES)
    assert "clusterIP" not in services["gateway"]["spec"]


# --- network -------------------------------------------------------------------------------------

OUTSIDE = {"app.kubernetes.io/name": "stranger"}
DATA = {"postgresql": 5432, "redis": 6379, "rabbitmq": 5672}
EDGES = frozenset(
    {("stranger", "gateway", 8080)}
    | {("gateway", service, 8080) for service in SERVICES}
    | {(service, "postgresql", 5432) for service in {*SERVICES, "relay", "migrate"}}
    | {(service, "redis", 6379) for service in {*SERVICES, "relay", "migrate", "gateway"}}
    | {("relay", "rabbitmq", 5672), ("items-service", "files-service", 8080)}
)


def matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """As Kubernetes reads a label selector (the two forms used here)."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def allows(
    policies: list[Manifest], way: str, pod: Mapping[str, str], peer: Mapping[str, str], port: int
) -> bool:
    """Whether the policies of ``pod`` let it speak (Egress) to or hear (Ingress) its ``peer``."""
    mine = [
        policy["spec"]
        for policy in policies
        if way in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], pod)
    ]
    peers = "from" if way == "Ingress" else "to"
    return not mine or any(
        _rule_allows(rule, peers, peer, port)
        for policy in mine
        for rule in policy.get(way.lower(), [])
    )


def _rule_allows(rule: Manifest, peers: str, peer: Mapping[str, str], port: int) -> bool:
    """Peers of other namespaces are none of the pods asked about here."""
    if not any(allowed["port"] == port for allowed in rule["ports"]):
        return False
    if peers not in rule:
        return True
    return any(
        "namespaceSelector" not in one and matches(one["podSelector"], peer) for one in rule[peers]
    )


def edges(manifests: list[Manifest]) -> set[tuple[str, str, int]]:
    """Who can reach whom, the pods of an overlay and a stranger in the same namespace."""
    policies = list(of_kind(manifests, "NetworkPolicy").values())
    labels = {
        name: workload["spec"]["template"]["metadata"]["labels"]
        for name, workload in workloads(manifests).items()
    }
    for server in DATA:  # in production they are the operator's, under the same labels
        labels.setdefault(server, {"app.kubernetes.io/name": server})
    reached: set[tuple[str, str, int]] = set()
    for target, target_labels in labels.items():
        port = DATA.get(target, 8080)
        sources = {**labels, "stranger": OUTSIDE}
        for source, source_labels in sources.items():
            speaks = source == "stranger" or allows(
                policies, "Egress", source_labels, target_labels, port
            )
            if speaks and allows(policies, "Ingress", target_labels, source_labels, port):
                reached.add((source, target, port))
    return reached


def test_each_named_edge_is_open_and_every_other_is_shut(manifests: list[Manifest]) -> None:
    assert edges(manifests) == EDGES


def test_without_policies_everything_would_be_open(manifests: list[Manifest]) -> None:
    without = [m for m in manifests if m["kind"] != "NetworkPolicy"]
    assert ("stranger", "postgresql", 5432) in edges(without)


def test_everything_is_denied_by_default(manifests: list[Manifest]) -> None:
    deny = of_kind(manifests, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
