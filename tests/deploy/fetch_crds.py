"""KubeRay's schemas as the tests use them: names and types of all fields, without descriptions.

    python tests/deploy/fetch_crds.py feeaf72facab4881ba2b179248bb67315634e229    # writes kuberay.json.gz

They are those of https://github.com/ray-project/kuberay (Apache-2.0).
"""

import gzip
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

PLACE = (
    "https://raw.githubusercontent.com/ray-project/kuberay/{version}/ray-operator/config/crd/bases/ray.io_{kind}.yaml"
)
KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices", "RayCronJob": "raycronjobs"}
FOUND = Path(__file__).with_name("kuberay.json.gz")
KEPT = ("type", "enum", "required", "pattern", "minimum", "maximum", "minItems", "x-kubernetes-preserve-unknown-fields")


def main() -> None:
    """Fetch and strip."""
    version = sys.argv[1]
    schemas: dict[str, Any] = {"version": version}
    for kind, name in KINDS.items():
        with urllib.request.urlopen(PLACE.format(version=version, kind=name), timeout=60) as answer:
            schemas[kind] = of_crd(yaml.safe_load(answer.read()))
    write(schemas)


def of_crd(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of version v1 of a custom resource."""
    (v1,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return stripped(v1["schema"]["openAPIV3Schema"])


def stripped(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its descriptions, which refuses fields that it does not know."""
    found = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        found["properties"] = {name: stripped(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "apiVersion" not in schema["properties"]:
            found["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = stripped(schema["additionalProperties"])
    if "items" in schema:
        found["items"] = stripped(schema["items"])
    return found


def write(schemas: dict[str, Any]) -> None:
    """Write them, the same bytes for the same schemas."""
    FOUND.write_bytes(gzip.compress(json.dumps(schemas, sort_keys=True).encode(), mtime=0))


if __name__ == "__main__":
    main()
