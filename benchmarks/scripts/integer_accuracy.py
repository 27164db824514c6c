"""What integer quantization costs: accuracy, error, file size and drift, on real data.

`keywords`: GRU-64 and LSTM-64 on the Free Spoken Digit Dataset, leaving one speaker out (six folds,
3000 test recordings). `forecast`: GRU-128 on ETTh1, horizon 24. Each in float32, quantized after
calibration, and with quantization in training; then the drift of the int8 models over a million
steps of audio features. Each number is judged by the limit beside it. A stopped run goes on where
it was.

    python benchmarks/scripts/integer_accuracy.py --fsdd FSDD/recordings --etth ETTh1.csv
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import etth_forecast
import numpy as np

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

RESULTS = Path(__file__).parents[1] / "results" / "integer_accuracy.json"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CELLS = ("gru", "lstm")
CALIBRATED = ("int8", "w8a16", "int4")
TRAINED = ("int8", "int4")
DRIFT_STEPS = 1_000_000
# points of accuracy below float32, or share of error above it
KEYWORDS_LIMITS = {"int8": 0.5, "w8a16": 0.1, "int4": 1.5, "int8 trained": 0.1, "int4 trained": 0.5}
FORECAST_LIMITS = {"int8": 0.03, "w8a16": 0.005, "int8 trained": 0.01}
SIZE_LIMITS = {"int8": 0.30, "int4": 0.18}


@dataclass(frozen=True)
class Verdict:
    """One number beside its limit.

    Attributes:
        what: Model, precision and quantity.
        value: What was measured.
        limit: The most it may be.
    """

    what: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the number is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        """Render as one line of the table."""
        words = "" if self.holds else "NOT REACHED"
        return f"{self.what:<44} {self.value:>9.4f}  limit {self.limit:<6g} {words}"


def measure_fold(arguments: argparse.Namespace, fold: tuple[str, str]) -> dict[str, Any]:
    """Train one cell without one speaker; return accuracies by precision, and file sizes."""
    import torch

    import edgernn
    from edgernn.api import export_run
    from edgernn.tasks import get_task
    from edgernn.tasks.base import DataSource
    from edgernn.training import ModelConfig, TrainOptions

    torch.set_num_threads(1)  # folds run side by side
    cell, speaker = fold
    task = get_task("keywords")
    source = DataSource(folder=arguments.fsdd, holdout=speaker)
    config = ModelConfig(cell, task.input_size, 64, task.output_size, 1)
    folder = arguments.work / f"{cell}64x1-{speaker}-seed0"

    def evaluate(path: Path) -> float:
        return edgernn.evaluate(path, source=source, threads=1)["accuracy"]

    edgernn.train("keywords", config, TrainOptions(folder, source=source, resume=True))
    model = folder / "kw.onnx"
    export_run(folder, model)
    accuracy = {"float32": evaluate(model)}
    sizes = {"float32": model.stat().st_size}
    for precision in CALIBRATED:
        small = folder / f"kw.{precision}.onnx"
        edgernn.quantize(
            model, small, precision=precision, calibration="task:keywords", data=source
        )
        accuracy[precision] = evaluate(small)
        sizes[precision] = small.stat().st_size
    for precision in TRAINED:
        trained = folder.with_name(f"{folder.name}-{precision}")
        options = TrainOptions(trained, source=source, resume=True, qat=precision, parent=folder)
        edgernn.train("keywords", config, options)
        export_run(trained, trained / "kw.onnx")
        small = trained / f"kw.{precision}.onnx"
        edgernn.quantize(trained / "kw.onnx", small, precision=precision)
        accuracy[f"{precision} trained"] = evaluate(small)
    print(f"{cell:<5} {speaker:<9} {accuracy}", flush=True)
    return {"cell": cell, "speaker": speaker, "accuracy": accuracy, "bytes": sizes}


def measure_forecast(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train GRU-128 on ETTh1; return the test error by precision."""
    import torch

    import edgernn
    from edgernn.metadata import Metadata
    from edgernn.training import observing, ranges_of, to_float, to_quantized

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    series = etth_forecast.read(arguments.etth)
    folder = arguments.work / "forecast"
    folder.mkdir(parents=True, exist_ok=True)

    def trained(name: str, model: Any, **options: Any) -> Any:
        """Train, or read what an earlier run trained."""
        path = folder / f"{name}.pt"
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.eval()
        etth_forecast.train(model, series, seed=0, **options)
        torch.save(model.state_dict(), path)
        return model

    def exported(name: str, module: Any, metadata: Metadata) -> Path:
        path = folder / f"{name}.onnx"
        edgernn.export(
            module, (torch.zeros(1, etth_forecast.HOURS, etth_forecast.VARIABLES),), path,
            metadata=metadata,
        )  # fmt: skip
        return path

    def error(path: Path) -> float:
        with closing(edgernn.load(path, threads=os.cpu_count())) as session:
            return etth_forecast.mean_squared_error(
                lambda x: next(iter(session.run({session.inputs[0].name: x}).values())),
                series, "test",
            )  # fmt: skip

    model = trained("float32", etth_forecast.Forecaster(128), epochs=8, rate=1e-3)
    file = exported("float32", model, Metadata())
    errors = {"float32": error(file)}
    windows = series.windows("train")[0][::40]
    calibration = folder / "calibration.npz"
    np.savez(calibration, x=windows)
    for precision in ("int8", "w8a16"):
        small = folder / f"{precision}.onnx"
        edgernn.quantize(file, small, precision=precision, calibration=calibration)
        errors[precision] = error(small)
    quantized = to_quantized(model, "int8")
    with observing(quantized):
        quantized(torch.from_numpy(windows))
    quantized = trained("int8-trained", quantized, epochs=3, rate=1e-4)
    metadata = Metadata(ranges=ranges_of(quantized).to_json())
    file = exported("trained", to_float(quantized), metadata)
    small = folder / "trained.int8.onnx"
    edgernn.quantize(file, small, precision="int8")
    errors["int8 trained"] = error(small)
    print(f"forecast {errors}", flush=True)
    return errors


def measure_drift(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run float32 and int8 models over a million steps of recordings, one after another."""
    from edgernn import api
    from edgernn.tasks import get_task
    from edgernn.tasks.base import DataSource

    source = DataSource(folder=arguments.fsdd, holdout=SPEAKERS[0])
    splits = get_task("keywords").splits(source).values()
    recordings = [row for split in splits for batch in split.batches(1) for row in batch.x]
    inputs = {"x": np.concatenate(recordings)[None]}
    found = {}
    for cell in CELLS:
        folder = arguments.work / f"{cell}64x1-{SPEAKERS[0]}-seed0"
        drift = api.drift(folder / "kw.onnx", folder / "kw.int8.onnx", inputs, steps=DRIFT_STEPS)
        print(f"drift {cell}: {drift.verdict}", flush=True)
        found[cell] = drift.to_json()
    return found


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """Return what an earlier run has left, or make it and leave it."""
    if not path.exists():
        write_text(path, json.dumps(make()))
    return json.loads(path.read_text())


def judge(folds: list[dict[str, Any]], errors: dict[str, float]) -> list[Verdict]:
    """Put every number beside its limit."""
    found = []
    for cell in CELLS:
        mine = [fold for fold in folds if fold["cell"] == cell]
        means = {
            name: statistics.fmean(fold["accuracy"][name] for fold in mine)
            for name in mine[0]["accuracy"]
        }
        print(f"{cell}: leave-one-speaker-out {means}")
        found += [
            Verdict(f"{cell}-64 {name}, points below float32",
                    100 * (means["float32"] - means[name]), limit)
            for name, limit in KEYWORDS_LIMITS.items()
        ]  # fmt: skip
        found += [
            Verdict(f"{cell}-64 {name}, share of the float32 file",
                    max(fold["bytes"][name] / fold["bytes"]["float32"] for fold in mine), limit)
            for name, limit in SIZE_LIMITS.items()
        ]  # fmt: skip
    found += [
        Verdict(
            f"forecast {name}, error above float32", errors[name] / errors["float32"] - 1, limit
        )
        for name, limit in FORECAST_LIMITS.items()
    ]
    return found


def main() -> None:
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the FSDD")
    parser.add_argument("--etth", type=Path, required=True, help="ETTh1.csv")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="folds at a time")
    parser.add_argument("--work", type=Path, default=Path("runs/integer"))
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    arguments.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        folds = list(pool.map(partial(measure_fold, arguments),
                              [(cell, name) for cell in CELLS for name in SPEAKERS]))  # fmt: skip
    errors = kept(arguments.work / "forecast.json", partial(measure_forecast, arguments))
    drift = kept(arguments.work / "drift.json", partial(measure_drift, arguments))
    verdicts = judge(folds, errors)
    print("\n".join(map(str, verdicts)))
    value = {"folds": folds, "forecast": errors, "drift": drift,
             "verdicts": [{**asdict(item), "holds": item.holds} for item in verdicts],
             "environment": capture()}  # fmt: skip
    write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
