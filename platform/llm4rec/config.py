"""Strict configuration: one pydantic model a stage, YAML files that hold only what differs, `--set a.b=value`."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from llm4rec.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
Precision = Literal["auto", "bf16", "fp32"]
"""Of matrix products; `auto` is settled by the device, see `number_type`."""


class StrictModel(BaseModel):
    """Base of every stage's configuration: unknown keys, NaN and later changes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read YAML's `yes` as the number 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool and bool not in get_args(annotation):
            raise PydanticCustomError("bool", "Input should not be a yes-or-no value")
        return value


class _Loader(yaml.SafeLoader):
    """PyYAML's own keeps the last of two sections of one name, and says nothing of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(map(repr, twice))} is there more than once", node.start_mark
            )
        return super().construct_mapping(node, deep)


_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""ValueError: text that is no UTF-8, and scalars that only look like a date or a number."""


def load(model: type[Model], path: str | Path, overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply `a.b=value` overrides in order, and validate.

    Raises:
        ConfigError: the file is missing or no mapping, an override is malformed, a key is unknown or a value
            has the wrong type; the message is one line that names the key, the value and what is allowed.
    """
    values = _read_yaml(Path(path))
    for override in overrides:
        _apply(values, override)
    return validate(model, values, str(path))


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Validate plain values; `where` names their source in the error.

    Raises:
        ConfigError: as `load`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(model, problem) for problem in error.errors())
        raise ConfigError(f"{where}: {problems}") from None


def content_hash(config: BaseModel | dict[str, Any]) -> str:
    """A short, stable hash of a configuration's values."""
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        shipped = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml"))) or "none found in ./configs"
        raise ConfigError(f"config file not found: {path}; shipped configs: {shipped}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except _UNREADABLE as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, got {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {override!r} is malformed; write it as a.b=value, for example train.epochs=2")
    try:
        value = yaml.load(text, _Loader)
    except _UNREADABLE:
        value = text
    node = values
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {part!r} holds a value, not a group of settings")
        node = child
    node[parts[-1]] = value


def _describe(model: type[BaseModel], problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        allowed = _allowed_keys(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key {key!r}; {hint}allowed: {', '.join(allowed)}"
    # A whole section says nothing of what is wrong in it, and may hold a password.
    shown = problem["type"] != "missing" and not isinstance(problem["input"], Mapping | BaseModel)
    value = f", got {problem['input']!r}" if shown else ""
    return f"{key}: {problem['msg']}{value}"


def _allowed_keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    node: Any = model
    for part in path:
        field = getattr(node, "model_fields", {}).get(str(part))
        node = _section(field.annotation) if field is not None else None
    return sorted(getattr(node, "model_fields", {}))


def _section(annotation: Any) -> Any:
    """The configuration class of a section, also of one that may be null."""
    choices = [choice for choice in get_args(annotation) if hasattr(choice, "model_fields")]
    return choices[0] if choices else annotation
