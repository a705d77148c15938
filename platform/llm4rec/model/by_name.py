"""Layers by names that users choose."""

from torch import nn


class ByName(nn.ModuleDict):
    """A `ModuleDict` that takes any name: "type" and "half" are its own attributes, and "a.b" no name to PyTorch."""

    def __getitem__(self, key: str) -> nn.Module:
        """The layer of a name."""
        return super().__getitem__(_allowed(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        """Set the layer of a name."""
        super().__setitem__(_allowed(key), module)


def _allowed(name: str) -> str:
    if name and "." not in name and not hasattr(_EMPTY, name):
        return name
    return f"name_{name.encode().hex()}"


_EMPTY = nn.ModuleDict()
