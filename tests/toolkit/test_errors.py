from __future__ import annotations

import inspect

import pytest

from edgernn import errors

CODES = {
    "EdgernnError": 1, "UsageError": 2, "ModelError": 3, "ContractError": 3, "CheckpointError": 3,
    "InputError": 3, "OutputError": 3, "TargetUnavailable": 4, "AccuracyGateError": 5,
    "PerformanceGateError": 6, "Interrupted": 7,
}  # fmt: skip


def test_every_error_has_its_documented_exit_code() -> None:
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert {name: kind.exit_code for name, kind in classes.items()} == CODES
    assert all(issubclass(kind, errors.EdgernnError) for kind in classes.values())


@pytest.mark.parametrize("name", [name for name in CODES if name != "EdgernnError"])
def test_the_tree_in_the_docstring_names_every_error(name: str) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f" {name} " in line)
    assert line.split(name)[1].split()[0] == str(CODES[name])


def test_broken_contracts_and_checkpoints_are_model_errors() -> None:
    assert issubclass(errors.ContractError, errors.ModelError)
    assert issubclass(errors.CheckpointError, errors.ModelError)
