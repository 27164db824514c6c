"""The script that made the shipped corpus makes it again."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgernn.tasks.keywords.data import SHIPPED, mu_law_encode

SCRIPT = Path(__file__).parents[4] / "scripts" / "synthesize_digits.py"


@pytest.fixture(scope="module")
def script():
    """Import the script, where the espeak-ng that made the corpus is installed."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True)
    if " 1.51" not in version.stdout:
        pytest.skip(f"another espeak-ng than 1.51: {version.stdout.strip()}")
    spec = importlib.util.spec_from_file_location("synthesize_digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus():
    with SHIPPED.open("rb") as opened, np.load(opened) as file:
        return dict(file)


@pytest.mark.parametrize("number", [0, 137, 288, 401, 579])
def test_an_utterance_is_the_same_again(script, corpus, number):
    accent, _, variant = str(corpus["voice_names"][corpus["voices"][number]]).partition("+")
    begin = int(corpus["lengths"][:number].sum())
    shipped = corpus["audio"][begin : begin + corpus["lengths"][number]]
    made = mu_law_encode(script.speak(variant, accent, int(corpus["digits"][number])))
    np.testing.assert_array_equal(made, shipped)


def test_the_plan_has_every_voice_of_the_corpus(script, corpus):
    variants = {variant for part in script.VARIANTS.values() for variant in part}
    assert {str(name).partition("+")[2] for name in corpus["voice_names"]} == variants
