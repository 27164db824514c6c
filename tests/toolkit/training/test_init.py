from __future__ import annotations

import subprocess
import sys

import pytest

import edgernn.training as training


def test_configuration_does_not_import_torch() -> None:
    code = (
        "import sys; from edgernn.training import ModelConfig, TrainOptions, read_run, Progress; "
        "heavy = {'torch', 'accelerate', 'safetensors', 'rich'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", training.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(training, name)
    assert name in dir(training)
    assert not callable(value) or value.__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        training.trian  # noqa: B018 - the access is what is tested
