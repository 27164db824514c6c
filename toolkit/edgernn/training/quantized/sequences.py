"""Sequences of different lengths in one batch, padded at the end of the time axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence


def reversed_in_time(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn ``[T, B, N]`` around in time, each row within its own length.

    Doing it twice gives the sequence back.
    """
    if lengths is None:
        return sequence.flip(0)
    time = torch.arange(len(sequence), device=sequence.device)[:, None]
    mirrored = torch.where(time < lengths, lengths - 1 - time, time)  # [T, B]
    return sequence.gather(0, mirrored[:, :, None].expand_as(sequence))


def at_the_end(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last valid step ``[B, N]`` of each row of ``[T, B, N]``."""
    if lengths is None:
        return sequence[-1]
    return sequence[lengths - 1, torch.arange(len(lengths), device=sequence.device)]


def valid_steps(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the steps ``[N, K]`` of ``[T, B, K]`` that are no padding."""
    if lengths is None:
        return sequence.flatten(0, 1)
    time = torch.arange(len(sequence), device=sequence.device)[:, None]
    return sequence[time < lengths]


def packed_like(sequence: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Pack ``[T, B, N]`` in the order of rows that another packed sequence has."""
    if like.sorted_indices is not None:
        sequence = sequence.index_select(1, like.sorted_indices)
        lengths = lengths[like.sorted_indices]
    data = pack_padded_sequence(sequence, lengths.cpu()).data
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
