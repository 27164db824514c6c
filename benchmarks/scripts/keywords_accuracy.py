"""Train, export, quantize and evaluate the task `keywords` on the Free Spoken Digit Dataset.

The official split (300 test recordings) and leave-one-speaker-out (six folds, 3000 test
recordings), each with the float32 and the int8-dynamic model on target cpu. A stopped run goes on
where it was.

    python benchmarks/scripts/keywords_accuracy.py --data FSDD --cell gru --hidden 64 \
        --json benchmarks/results/keywords_gru64.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
OFFICIAL = "official"


def measure(arguments: argparse.Namespace, fold: str) -> dict[str, Any]:
    import torch

    import edgernn
    from edgernn.api import export_run
    from edgernn.tasks import get_task
    from edgernn.tasks.base import DataSource
    from edgernn.training import ModelConfig, TrainOptions

    torch.set_num_threads(1)  # folds run side by side
    task = get_task("keywords")
    source = DataSource(folder=arguments.data, holdout=None if fold == OFFICIAL else fold)
    config = ModelConfig(
        arguments.cell, task.input_size, arguments.hidden, task.output_size, arguments.layers
    )
    name = f"{arguments.cell}{arguments.hidden}x{arguments.layers}-{fold}-seed{arguments.seed}"
    folder = arguments.work / name
    options = TrainOptions(folder, arguments.seed, arguments.epochs, source=source, resume=True)
    started = time.monotonic()
    run = edgernn.train("keywords", config, options)
    seconds = time.monotonic() - started
    model, small = folder / "kw.onnx", folder / "kw.int8.onnx"
    export_run(folder, model)
    edgernn.quantize(model, small, precision="int8-dynamic")
    accuracy = {
        precision: edgernn.evaluate(path, source=source, threads=1)["accuracy"]
        for precision, path in (("float32", model), ("int8-dynamic", small))
    }
    print(f"{fold:<10} {accuracy}  {run.epoch} epochs, {seconds:.0f} s", flush=True)
    return {
        "fold": fold,
        "epochs": run.epoch,
        "train_seconds": round(seconds, 1),
        "accuracy": accuracy,
        "model_bytes": {"float32": model.stat().st_size, "int8-dynamic": small.stat().st_size},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the FSDD")
    parser.add_argument("--cell", default="gru", choices=["gru", "lstm", "rnn"])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="folds at a time")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    folds = [OFFICIAL, *SPEAKERS]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(partial(measure, arguments), folds))
    means = {
        precision: statistics.fmean(row["accuracy"][precision] for row in rows[1:])
        for precision in ("float32", "int8-dynamic")
    }
    print(f"leave-one-speaker-out mean {means}")
    if arguments.json:
        asked = {key: value for key, value in vars(arguments).items()
                 if key in ("cell", "hidden", "layers", "epochs", "seed")}  # fmt: skip
        value = {"arguments": asked, "folds": rows, "leave_one_speaker_out": means,
                 "environment": capture()}  # fmt: skip
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
