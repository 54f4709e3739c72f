"""State dicts in files, read as plain numbers: nothing in them is run."""

from __future__ import annotations

import pickle
import re
import zipfile
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
        zipped = zipfile.is_zipfile(self.path)
        self._check_kind(zipped)
        try:
            return torch.load(
                self.path, map_location="cpu", weights_only=True, mmap=mapped and zipped
            )
        except pickle.UnpicklingError as error:
            raise ValueError(_not_plain(self.path, str(error))) from None
        except Exception as error:  # whatever bytes that mean nothing lead to
            seen = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(
                f"{self.path} cannot be read as a file of torch.save ({seen}): it was cut short, "
                "or is of another kind. Save module.state_dict() again."
            ) from None

    def _check_kind(self, zipped: bool) -> None:
        """Refuse the kinds of files that torch would open in another way than as plain numbers."""
        if zipped:
            with zipfile.ZipFile(self.path) as archive:
                if any(name.endswith("constants.pkl") for name in archive.namelist()):
                    raise ValueError(
                        f"{self.path} is a TorchScript archive, which holds code. Save the "
                        "state_dict() of the module that it was made from."
                    )
        elif torch.__version__ < (2, 6):
            raise ValueError(
                f"{self.path} is no zip file, and other formats are opened by torch 2.6 and "
                "later only: before, they could run code whatever torch.load was told "
                "(CVE-2025-32434). Update torch, or save module.state_dict() again."
            )


def _not_plain(path: Path, error: str) -> str:
    # Torch's own text is long, advises to run the code, and has control characters in it.
    named = re.search(r"GLOBAL ([\w.]+)", error)
    seen = f" ({named[1]})" if named else ""
    return (
        f"{path} is not opened: it holds more than tensors, numbers and texts{seen}, and opening "
        "such a pickle can run code. If it is a whole module of your own, load it where you "
        "trust it and save its module.state_dict()."
    )
