"""What is deployed elsewhere: against the schemas of those who read it, and against this repository."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC2701
from ray.serve.schema import ServeDeploySchema

from llm4rec.cluster.run_config import load_run
from serve_apps.recommender import RecommenderArgs

HOME = Path(__file__).parents[2]
LAUNCHER = [HOME / "cluster.yaml", *sorted((HOME / "deploy/launcher").glob("*.yaml"))]
KUBERAY = sorted((HOME / "deploy/kuberay").glob("*.yaml"))
CRDS = json.loads(gzip.decompress(Path(__file__).with_name("kuberay.json.gz").read_bytes()))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def found(value: Any, key: str) -> Iterator[Any]:
    """All values of a key, however deep."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, key)


OURS = [(path, document) for path in KUBERAY for document in documents(path) if document["kind"] in CRDS]
NAMES = [f"{path.stem} {document['kind']}" for path, document in OURS]


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.stem)
def test_the_launcher_takes_the_file(path: Path) -> None:
    (config,) = documents(path)
    schema = json.loads(Path(ray.__file__).with_name("autoscaler").joinpath("ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(config))
    for source in config["file_mounts"].values():
        assert source.startswith("~") or (HOME / source).exists()


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.stem)
def test_launched_nodes_ask_for_a_token_and_the_head_is_not_open(path: Path) -> None:
    (config,) = documents(path)
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    for command in (one for one in starts if "ray start" in one):
        assert "RAY_AUTH_MODE=token" in command and "/home/ray/.ray/token" in command
    assert "/home/ray/.ray/token" in config["file_mounts"]
    assert not any("--dashboard-host=0.0.0.0" in one for one in starts)


def test_training_on_aws_and_gcp_is_spot_and_serving_is_not() -> None:
    aws, gcp = (documents(path)[0]["available_node_types"] for path in LAUNCHER[:2])
    assert aws["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gcp["gpu"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert "InstanceMarketOptions" not in aws["serving"]["node_config"]
    assert "scheduling" not in gcp["serving"]["node_config"]


@pytest.mark.parametrize(("path", "document"), OURS, ids=NAMES)
def test_kuberay_takes_the_file(path: Path, document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "ray.io/v1"
    jsonschema.validate(document, CRDS[document["kind"]])


def test_every_kind_is_there() -> None:
    assert {document["kind"] for _, document in OURS} == {"RayCluster", "RayJob", "RayCronJob", "RayService"}


def test_a_field_that_kuberay_does_not_know_is_found() -> None:
    document = next(one for _, one in OURS if one["kind"] == "RayCluster")
    wrong = json.loads(json.dumps(document))
    wrong["spec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(wrong, CRDS["RayCluster"])


@pytest.mark.parametrize(("path", "document"), OURS, ids=NAMES)
def test_clusters_on_kubernetes_are_closed_and_scale(path: Path, document: dict[str, Any]) -> None:
    (version,) = found(document, "rayVersion")
    assert version == ray.__version__
    assert list(found(document, "authOptions")) == [{"mode": "token"}]
    assert list(found(document, "enableInTreeAutoscaling")) == [True]
    assert [options["version"] for options in found(document, "autoscalerOptions")] == ["v2"]
    (policy,) = found(document, "networkPolicy")
    assert policy["mode"] == "DenyAllIngress"
    for resources in found(document, "resources"):
        assert resources["requests"] == resources["limits"], "what Ray counts on must be there"
    for group in next(found(document, "workerGroupSpecs")):
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize(("path", "document"), OURS, ids=NAMES)
def test_what_they_run_is_in_the_repository(path: Path, document: dict[str, Any]) -> None:
    for entrypoint in found(document, "entrypoint"):
        scripts, configs = re.findall(r"jobs/\S+\.py", entrypoint), re.findall(r"--config (\S+)", entrypoint)
        assert scripts and configs
        assert all((HOME / name).is_file() for name in [*scripts, *configs])
        settings = re.findall(r"--set (\S+)", entrypoint)
        load_run(HOME / configs[0], settings, HOME)


def test_the_service_is_one_that_serve_takes_and_keeps_its_head_elsewhere() -> None:
    service = next(document for _, document in OURS if document["kind"] == "RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema.model_validate(config).applications
    args = RecommenderArgs.model_validate(application.args)
    run = load_run(HOME / args.config, args.set, HOME)
    assert run.cluster.profile == "cluster" and run.serve.keys, "reachable from other pods"
    assert config["proxy_location"] != "Disabled"
    assert next(found(service, "gcsFaultToleranceOptions"))["redisAddress"].startswith("redis://llm4rec-redis:")
    names = {document["metadata"]["name"] for document in documents(HOME / "deploy/kuberay/redis.yaml")}
    assert names == {"llm4rec-redis"}


def test_the_image_has_the_pins_and_the_version_of_ray() -> None:
    lines = (HOME / "deploy/Dockerfile").read_text()
    assert f"rayproject/ray:{ray.__version__}-py311" in lines
    assert lines.count("-c constraints.txt") == 2
    copied = [word for line in re.findall(r"^COPY --chown=ray (.+) \S+$", lines, re.M) for word in line.split()]
    ignored = (HOME / ".dockerignore").read_text()
    for name in copied:
        assert (HOME / name).exists() and f"!{name}" in ignored


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads((HOME / "deploy/grafana/llm4rec.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == [
        "Serving",
        "Learning",
        "Pipeline and training",
        "Machines",
    ]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
