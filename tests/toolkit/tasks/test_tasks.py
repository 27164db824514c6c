"""What holds for every task, on the data that needs no download."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.errors import InputError, ModelError, UsageError
from edgernn.tasks import TASKS, get_task
from edgernn.tasks.base import END, PADDING, DataSource, ReadsText, Split, Task
from edgernn.tasks.splits import padded
from edgernn.training import LOSSES, advised, build_model
from edgernn.training.learner import runner

Found = tuple[Task, Mapping[str, Split], dict[str, Any]]


@pytest.fixture(scope="module", params=TASKS)
def found(request: pytest.FixtureRequest) -> Found:
    task = get_task(request.param)
    splits = task.splits(DataSource())
    return task, splits, json.loads(json.dumps(task.preprocessing(splits)))


def test_describes_itself(found: Found) -> None:
    task, splits, _ = found
    assert task.name in TASKS
    assert set(splits) == {"train", "validation", "test"}
    assert task.loss in LOSSES
    assert task.summary
    assert task.origin.data
    assert len(task.labels()) in (0, task.output_size)
    assert min(len(split) for split in splits.values()) > 0


def test_an_epoch_depends_on_its_number_and_the_seed_alone(found: Found) -> None:
    train = found[1]["train"]

    def first(epoch: int, seed: int) -> np.ndarray:
        return next(iter(train.epoch(epoch, seed=seed, batch_size=8))).x

    np.testing.assert_array_equal(first(3, 1), first(3, 1))
    for epoch, seed in ((2, 1), (3, 2)):
        assert not np.array_equal(first(3, 1), first(epoch, seed))


def test_a_network_can_be_trained_on_the_batches(found: Found) -> None:
    task, splits, _ = found
    import torch

    model = build_model(advised(task, hidden_size=4))
    batch = next(iter(splits["train"].epoch(1, seed=0, batch_size=8)))
    given = [torch.from_numpy(value) for value in (batch.x, batch.lengths, batch.targets)]
    teacher = given[2:] if model.takes_targets else []
    outputs = model(*given[:2], *teacher)
    loss = LOSSES[task.loss](outputs, given[1], given[2], task.recipe.label_smoothing)
    assert loss.shape == (len(batch.x),)
    loss.mean().backward()
    gradients = [weight.grad for weight in model.parameters()]
    assert any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)
    assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)


def test_every_example_is_measured_once_and_the_same_each_time(found: Found) -> None:
    _, splits, _ = found
    test = splits["test"]
    sizes = {}
    for size in (7, 100):
        batches = list(test.batches(size))
        sizes[size] = sum(batch.x.size for batch in batches)
        assert all(len(batch.x) <= size for batch in batches)
    assert sizes[7] == sizes[100]
    for one, other in zip(test.batches(7), test.batches(7), strict=True):
        np.testing.assert_array_equal(one.x, other.x)


def test_an_untrained_network_has_a_score_and_an_answer(found: Found, tmp_path: Path) -> None:
    task, splits, preprocessing = found
    import torch

    torch.manual_seed(0)
    run = runner(build_model(advised(task, hidden_size=4)), torch.device("cpu"))
    scores = task.score(run, splits["validation"])
    assert np.isfinite(scores[task.metric.name])
    inputs = task.read(task.sample(tmp_path), preprocessing)
    first = next(iter(splits["test"].batches(1)))
    assert set(inputs) == set(first.inputs)
    for name, value in inputs.items():
        assert len(value) == 1
        assert value.dtype == first.inputs[name].dtype
        assert value.shape[2:] == first.inputs[name].shape[2:]
    assert task.answer(run(inputs), preprocessing)


def test_a_perfect_model_is_scored_so(found: Found) -> None:
    task, splits, _ = found
    right = {}
    for batch in splits["validation"].batches(1):
        right[key(batch.inputs, 0)] = perfect(task, batch)[0]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [right[key(inputs, row)] for row in range(len(inputs["x"]))]
        return {"y": padded(rows, PADDING)}

    scores = task.score(run, splits["validation"])
    best = 100.0 if task.metric.name == "bleu" else float(task.metric.higher_is_better)
    assert scores[task.metric.name] == pytest.approx(best, abs=1e-4)


def key(inputs: Mapping[str, np.ndarray], row: int) -> bytes:
    return inputs["x"][row].tobytes()


def perfect(task: Task, batch: Any) -> np.ndarray:
    """Return outputs that say the targets."""
    rows, steps = batch.x.shape[:2]
    size, targets = task.output_size, batch.targets
    one_hot = np.eye(size, dtype=np.float32)
    if task.network.kind == "translation":
        return np.where(targets == END, PADDING, targets)
    if task.loss == "cross_entropy":
        return 50 * one_hot[targets]
    if task.loss == "cross_entropy_of_mean":
        return np.repeat(50 * one_hot[targets][:, None], steps, axis=1)
    if task.loss == "squared_error_of_last":
        return np.repeat(targets[:, None], steps, axis=1)
    if task.loss == "ctc":
        y = np.zeros((rows, steps, size), np.float32)
        y[..., -1] = 1
        for row, symbols in enumerate(targets):
            for place, symbol in enumerate(symbols[symbols >= 0]):
                y[row, 2 * place, symbol] = 2
        return y
    if targets.dtype.kind == "i":
        targets = 50 * one_hot[targets]
    return np.concatenate(
        [np.zeros((rows, steps - targets.shape[1], size), np.float32), targets], 1
    )


def test_outputs_of_another_model_are_refused(found: Found) -> None:
    task, splits, preprocessing = found
    for outputs in ({}, {"y": np.zeros((1, 5, 1, 1), np.float32)}):
        with pytest.raises(InputError, match=f"needs the output y .*trained for {task.name}"):
            task.answer(outputs, preprocessing)
        with pytest.raises(InputError, match="needs the output y"):
            task.score(lambda _, given=outputs: given, splits["test"])


def test_a_model_of_another_task_is_refused(found: Found) -> None:
    task, _, _ = found
    with pytest.raises(ModelError, match=r"train and export it again|log-mel"):
        task.splits(DataSource(), {"kind": "poem"})


def test_data_that_are_not_there_are_refused(found: Found, tmp_path: Path) -> None:
    task, _, _ = found
    with pytest.raises((InputError, UsageError), match=r"--download|generates its data"):
        task.splits(DataSource(folder=tmp_path))
    with pytest.raises(UsageError):
        task.splits(DataSource(holdout="nobody"))


def test_the_models_own_preprocessing_prepares_the_data(found: Found) -> None:
    task, splits, preprocessing = found
    again = task.splits(DataSource(), preprocessing)
    assert json.loads(json.dumps(task.preprocessing(again))) == preprocessing
    for one, other in zip(splits["test"].batches(9), again["test"].batches(9), strict=True):
        np.testing.assert_array_equal(one.x, other.x)


def test_text_becomes_inputs(found: Found) -> None:
    task, _, preprocessing = found
    if not isinstance(task, ReadsText):
        return
    inputs = task.encode("The film is warm", preprocessing)
    assert inputs["x"].shape[0] == 1
    with pytest.raises(InputError, match=r"empty|no word"):
        task.encode("", preprocessing)
