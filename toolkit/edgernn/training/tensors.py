"""Tensors in safetensors files: read, written and put into modules, never through a pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from edgernn.errors import CheckpointError

Tensors = dict[str, Tensor]

_PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_SHOWN = 5


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file with these tensors.

    Each is copied first: safetensors refuses tensors that share memory, and the weights of a
    recurrent layer on a GPU do.
    """
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    return safetensors.torch.save(copies)


def from_bytes(content: bytes, where: str | Path) -> Tensors:
    """Read the content of a safetensors file.

    Args:
        content: The file's bytes.
        where: File name for messages.

    Raises:
        CheckpointError: It is a pickle, or broken.
    """
    is_safetensors = content[8:9] == b"{"  # eight bytes of header length, then a JSON object
    if not is_safetensors and content.startswith(_PICKLE_MAGIC):
        raise CheckpointError(_refuse_pickle(where))
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{where} is not a whole safetensors file ({error}); copy or save it again"
        ) from None


def read_tensors(path: str | Path) -> Tensors:
    """Read a safetensors file.

    Raises:
        CheckpointError: It is missing, a pickle, or broken.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise CheckpointError(_refuse_pickle(path))
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(
            f"cannot read checkpoint {path}: {reason}; name a safetensors file"
        ) from None
    return from_bytes(content, path)


def put_into(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Copy tensors into the parameters and buffers of the same names.

    Raises:
        CheckpointError: A name is missing, unexpected or of another shape, or a value is NaN;
            the module is untouched then.
    """
    own = module.state_dict()
    faults = _listed("missing", own.keys() - tensors.keys())
    faults += _listed("unexpected", tensors.keys() - own.keys())
    faults += _listed(
        "of another shape",
        (
            f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if tensors[name].shape != own[name].shape
        ),
    )
    if faults:
        raise CheckpointError(
            f"{where} belongs to another architecture than {type(module).__name__}: "
            f"{'; '.join(faults)}; build the module with the sizes it was trained with"
        )
    broken = _listed(
        "NaN in", (name for name, tensor in tensors.items() if bool(torch.isnan(tensor).any()))
    )
    if broken:
        raise CheckpointError(f"{where}: {broken[0]}; use a checkpoint from before that happened")
    module.load_state_dict(dict(tensors))


def select(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Return the tensors whose names start with ``prefix``, under the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _listed(kind: str, names: Iterable[str]) -> list[str]:
    """Return one phrase that shows the first few names, or nothing."""
    ordered = sorted(names)
    if not ordered:
        return []
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return [f"{kind}: {', '.join(ordered[:_SHOWN])}{more}"]


def _refuse_pickle(where: str | Path) -> str:
    return (
        f"{where} is a pickle, which can run any code when it is read; convert it where you trust "
        f'it: weights = torch.load("{where}", weights_only=True), then '
        f'safetensors.torch.save_file(weights, "weights.safetensors"), and name that file'
    )
