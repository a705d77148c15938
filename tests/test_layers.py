"""The layer rule: a module imports strictly lower rows, and each heavy library has one home."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROWS = (
    {"schema", "config", "errors", "artifacts", "page", "device", "softmax", "weights", "language_model"}
    | {"heaviest", "history_matrix", "linear", "semantic_ids", "table_rows"},
    {"preprocess", "encode", "debias", "model", "baselines", "index", "evaluate", "explain"},
    {"train", "recommend", "serve", "online"},
    {"cluster"},
    {"jobs", "serve_apps"},
)
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}
FOUNDATION = {
    "config": {"errors"},
    "artifacts": {"errors"},
    "schema": {"errors", "artifacts"},
    "errors": set(),
    "page": set(),
    "device": {"config"},
    "softmax": set(),
    "heaviest": {"schema"},
    "history_matrix": {"schema"},
    "linear": {"schema"},
    "semantic_ids": {"schema", "config", "table_rows"},
    "table_rows": set(),
    "weights": {"errors"},
    "language_model": {"errors", "weights"},
}
HOMES = {
    "ray": {"cluster"},
    "deepspeed": {"cluster"},
    "econml": {"debias"},
    "faiss": {"index"},
    "openvino_genai": {"explain"},
}
BANNED = {"utils", "helpers", "common", "misc", "manager", "base"}


def source_files(root: Path) -> list[Path]:
    return [path for part in ("platform/llm4rec", "jobs", "serve_apps") for path in sorted((root / part).rglob("*.py"))]


def part_of(path: Path, root: Path) -> str:
    """The stage, foundation module or launcher folder that a file belongs to; "" for the package itself."""
    parts = path.relative_to(root).with_suffix("").parts
    inner = parts[2:] if parts[0] == "platform" else parts
    return "" if inner[0] == "__init__" else inner[0]


def imported(path: Path, root: Path) -> list[str]:
    """Every module a file names in an import anywhere in it, relative ones made absolute."""
    names = []
    parents = path.relative_to(root / "platform").parts[:-1] if "platform" in path.relative_to(root).parts else ()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [start, node.module or ""]))
            # `from llm4rec import schema` names a module, `from llm4rec.schema import X` a thing in one
            names += [f"{module}.{alias.name}" for alias in node.names] if module in ("llm4rec", "ray") else [module]
    return names


def violation(part: str, module: str) -> str | None:
    """What is wrong with a file of this part importing this module."""
    top, _, rest = module.partition(".")
    if top in HOMES:
        is_served = part == "serve_apps" and module.startswith("ray.serve")
        return None if part in HOMES[top] or is_served else f"{top} belongs in {sorted(HOMES[top])}"
    target = rest.partition(".")[0] if top == "llm4rec" else top
    if top not in {"llm4rec", "jobs", "serve_apps"} or target in {part, "", "__version__"}:
        return None
    if target not in ROW_OF:
        return "no part of the layer table"
    if part in FOUNDATION:
        return None if target in FOUNDATION[part] else f"{part} may import {sorted(FOUNDATION[part])}"
    if part and ROW_OF[target] < ROW_OF[part]:
        return None
    return f"row {ROW_OF.get(part)} may import lower rows only, {target} is in row {ROW_OF[target]}"


def violations(root: Path) -> list[str]:
    found = []
    for path in source_files(root):
        part, name = part_of(path, root), path.relative_to(root)
        if part and part not in ROW_OF:
            found.append(f"{name}: {part} is no part of the layer table")
        if path.stem in BANNED or path.parent.name in BANNED:
            found.append(f"{name}: say what it does instead")
        for module in imported(path, root):
            if problem := violation(part, module):
                found.append(f"{name}: imports {module}: {problem}")
    return found


def test_the_layer_rule_holds() -> None:
    assert len(source_files(ROOT)) > 100
    assert {part_of(path, ROOT) for path in source_files(ROOT)} >= set(ROW_OF)
    assert violations(ROOT) == []


PLANTED = [
    ("platform/llm4rec/model/net.py", "import ray", "ray belongs"),
    ("platform/llm4rec/model/net.py", "def f():\n    from ray import train", "ray belongs"),
    ("jobs/train.py", "from ray.job_submission import X", "ray belongs"),
    ("serve_apps/app.py", "import ray", "ray belongs"),
    ("platform/llm4rec/train/loop.py", "import deepspeed.ops", "deepspeed belongs"),
    ("platform/llm4rec/recommend/slate.py", "import faiss", "faiss belongs"),
    ("platform/llm4rec/evaluate/x.py", "from econml.dml import LinearDML", "econml belongs"),
    ("platform/llm4rec/encode/text.py", "from llm4rec.preprocess import split", "lower rows only"),
    ("platform/llm4rec/encode/text.py", "from ..preprocess.split import X", "lower rows only"),
    ("platform/llm4rec/online/log.py", "import llm4rec.serve.contract", "lower rows only"),
    ("platform/llm4rec/index/x.py", "from llm4rec import cluster", "lower rows only"),
    ("platform/llm4rec/cluster/x.py", "import jobs.train", "lower rows only"),
    ("platform/llm4rec/__init__.py", "from llm4rec.schema import Corpus", "lower rows only"),
    ("platform/llm4rec/errors.py", "from llm4rec.config import load", "errors may import"),
    ("platform/llm4rec/artifacts.py", "from llm4rec.schema import Corpus", "artifacts may import"),
    ("platform/llm4rec/train/x.py", "from llm4rec.tools import y", "no part of the layer table"),
    ("platform/llm4rec/tools/x.py", "", "no part of the layer table"),
    ("platform/llm4rec/model/utils.py", "", "say what it does"),
]


@pytest.mark.parametrize(("name", "source", "message"), PLANTED)
def test_the_checker_sees_a_planted_violation(tmp_path: Path, name: str, source: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{name}: ") and message in found


ALLOWED = [
    ("platform/llm4rec/train/x.py", "from llm4rec.model import loss\nfrom llm4rec.schema import Corpus\nimport torch"),
    ("platform/llm4rec/train/x.py", "from llm4rec.train.loop import fit\nfrom . import loop"),
    ("platform/llm4rec/cluster/x.py", "import ray.train, deepspeed"),
    ("serve_apps/app.py", "from ray.serve import Application\nfrom ray import serve"),
    ("jobs/x.py", "from llm4rec.cluster.command import main"),
    ("platform/llm4rec/schema.py", "from llm4rec.artifacts import Artifact\nimport platform"),
]


@pytest.mark.parametrize(("name", "source"), ALLOWED)
def test_the_checker_lets_good_imports_pass(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert violations(tmp_path) == []


SLOW = ("torch", "transformers", "sklearn", "scipy.stats", "pandas", "implicit", "ray", "deepspeed", "econml")
OF_THE_LOG = ("jobs.publish", "jobs.value")
JOBS = {f"jobs.{path.stem}" for path in ROOT.glob("jobs/*.py")} - set(OF_THE_LOG)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        pytest.param(["llm4rec.cluster.command", *sorted(JOBS)], ("scipy", *SLOW), id="jobs"),
        pytest.param(OF_THE_LOG, SLOW, id="jobs on the log"),
        pytest.param(["llm4rec.cluster.worker"], ("sklearn", "scipy.stats", "econml"), id="a training worker"),
    ],
)
def test_nothing_is_imported_that_takes_seconds_and_is_not_needed(modules: list[str], heavy: tuple[str, ...]) -> None:
    """Every command reads a configuration, also to say no more than what is wrong with it."""
    code = (
        "import sys; sys.path[:0] = ['platform', '.'];"
        f"import {', '.join(modules)};"
        f"print(*(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_source_root_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "platform/__init__.py").exists()
    code = "import sys; sys.path[:0] = ['platform', '.']; import platform; print(platform.system())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == {"linux": "Linux", "darwin": "Darwin"}[sys.platform]


@pytest.mark.slow
def test_the_maths_runs_where_ray_cannot_be_imported() -> None:
    """Imports are blocked for real, so that one through a string would be seen too."""
    code = (
        "import sys; sys.path.insert(0, 'platform'); sys.modules.update(ray=None, deepspeed=None);"
        "import llm4rec.train.state, llm4rec.recommend.batch, llm4rec.online.log, llm4rec.serve.contract"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
