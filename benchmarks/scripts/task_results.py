"""Train a task with its default recipe on its real data, and measure what comes of it.

Train, export, quantize to int8 with ranges from the task's training data, evaluate both files on
target cpu. A stopped training goes on where it was.

    python benchmarks/scripts/task_results.py forecast --data ETT \
        --json benchmarks/results/task_forecast.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgernn.errors import EdgernnError
from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

PRECISIONS = ("int8-dynamic", "int8")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    import edgernn
    from edgernn.api import encoder_of, export_run
    from edgernn.tasks import get_task
    from edgernn.tasks.base import DataSource
    from edgernn.training import TrainOptions, advised

    task = get_task(arguments.task)
    source = DataSource(folder=arguments.data)
    folder = arguments.work / f"{arguments.task}-seed{arguments.seed}"
    options = TrainOptions(folder, arguments.seed, source=source, resume=True)
    run = edgernn.train(arguments.task, advised(task), options)
    seconds = sum(record.seconds for record in run.history)
    model = folder / "model.onnx"
    export_run(folder, model)
    files = [model, *filter(None, [encoder_of(model)])]
    scores = {"float32": edgernn.evaluate(model, source=source, threads=1)}
    sizes = {"float32": sum(path.stat().st_size for path in files)}
    refused = {}
    for precision in PRECISIONS:
        calibration = f"task:{arguments.task}" if precision == "int8" else None
        small = [path.with_name(path.name.replace("model", f"model.{precision}")) for path in files]
        try:
            for path, to in zip(files, small, strict=True):
                edgernn.quantize(
                    path, to, precision=precision, calibration=calibration, data=source
                )
        except EdgernnError as error:
            refused[precision] = str(error)
            continue
        scores[precision] = edgernn.evaluate(small[0], source=source, threads=1)
        sizes[precision] = sum(path.stat().st_size for path in small)
    print(arguments.task, scores, f"{run.epoch} epochs, {seconds:.0f} s", flush=True)
    return {
        "task": arguments.task,
        "model": run.model.to_json(),
        "epochs": run.epoch,
        "seconds": round(seconds, 1),
        "history": [record.to_metrics(run.metric) for record in run.history],
        "scores": scores,
        "bytes": sizes,
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--data", type=Path, help="folder of the real data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    result = {"environment": capture(), **measure(arguments)}
    write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
