"""State dicts in files, read as plain numbers: nothing in them is run."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from skinfluence.torch.recording import as_array, state_dict_of


@dataclass(frozen=True)
class StateFile:
    """A file with a module's state dict: safetensors, or torch's.

    Parameters
    ----------
    path : Path
    """

    path: Path

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, without reading them where the format allows."""
        if self.path.suffix == ".safetensors":
            with self._opened() as file:
                return {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
        return {name: tuple(t.shape) for name, t in self._tensors(mapped=True).items()}

    def load(self) -> dict[str, NDArray[Any]]:
        return {name: as_array(t) for name, t in self._tensors(mapped=False).items()}

    def _tensors(self, *, mapped: bool) -> dict[str, Tensor]:
        if self.path.suffix == ".safetensors":
            return self._safetensors()
        return state_dict_of(self._unpickled(mapped), str(self.path))

    def _safetensors(self) -> dict[str, Tensor]:
        with self._opened() as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def _opened(self) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self.path, framework="pt", device="cpu")
        except SafetensorError as error:
            raise ValueError(
                f"{self.path} is no safetensors file, or was cut short ({error}). Save it again, "
                "or pass another."
            ) from None

    def _unpickled(self, mapped: bool) -> Any:
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise ValueError(_not_plain(self.path, str(error))) from None
        except (RuntimeError, EOFError, ValueError, OSError) as error:
            if mapped:  # files of old releases cannot be mapped
                return self._unpickled(False)
            raise ValueError(
                f"{self.path} cannot be read as a file of torch.save: "
                f"{str(error).splitlines()[0]} It was cut short, or is of another kind (a "
                "TorchScript archive is). Save module.state_dict() again."
            ) from None


def _not_plain(path: Path, error: str) -> str:
    return (
        f"{path} is not opened: it holds more than tensors, numbers and texts, and opening such "
        f"a pickle can run code ({error.splitlines()[0][:200]}). If it is a whole module of your "
        "own, load it where you trust it and save its module.state_dict()."
    )
