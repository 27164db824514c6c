"""Count instructions for each multiply-accumulate on emulated microcontrollers.

An LSTM of 64 inputs and 64 units without more layers, 20 time steps in one call, in float32 and
the quantized precisions. Everything that ``NAME_run`` executes counts: quantization, gates and
copies too. The emulator counts instructions, which are not cycles. Counts repeat exactly, so each
is taken twice and must be the same.

Prints the table, keeps the counts, ends with 0 or 6.

    python benchmarks/scripts/cortex_m_instructions.py
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import edgernn
from edgernn.errors import EdgernnError, ModelError, PerformanceGateError
from edgernn.files import check_writable, write_text
from edgernn.sessions import Emulated
from edgernn_benchmarks import environment
from edgernn_benchmarks.opening import open_session
from edgernn_benchmarks.report_format import size

RESULTS = Path(__file__).resolve().parents[1] / "results"
TARGETS = ("cortex-m4", "cortex-m7", "cortex-m55", "riscv32")
PRECISIONS = ("float32", "int8-dynamic", "int8", "w8a16", "int4")
WIDTH, STEPS = 64, 20
MACS_PER_STEP = 4 * WIDTH * (WIDTH + WIDTH)
LIMITS = {
    ("cortex-m4", "float32"): 3.0,
    ("cortex-m4", "int8-dynamic"): 2.2,
    ("cortex-m4", "int8"): 1.15,
    ("cortex-m4", "w8a16"): 1.4,
    ("cortex-m4", "int4"): 1.4,
    ("cortex-m55", "int8-dynamic"): 0.6,
    ("cortex-m55", "int8"): 0.28,
    ("cortex-m55", "w8a16"): 0.4,
    ("cortex-m55", "int4"): 0.3,
}
"""Most instructions for each multiply-accumulate."""


def counted(path: Path, target: str, precision: str) -> dict[str, Any]:
    """Count one model on one target; an unavailable target is a row that says why."""
    limit = LIMITS.get((target, precision))
    row: dict[str, Any] = {"target": target, "precision": precision, "limit": limit}
    try:
        session = open_session(path, target)
    except EdgernnError as error:
        return row | {"error": str(error), "passed": limit is None}
    try:
        assert isinstance(session, Emulated)
        found, again = session.measure(STEPS), session.measure(STEPS)
    except EdgernnError as error:
        return row | {"error": str(error), "passed": limit is None}
    finally:
        session.close()
    if found.instructions_per_step != again.instructions_per_step:
        raise ModelError(
            f"{target} {precision}: two runs counted {found.instructions_per_step:,.1f} and "
            f"{again.instructions_per_step:,.1f} instructions a step; the counts must repeat"
        )
    per_mac = found.instructions_per_step / MACS_PER_STEP
    return row | {
        "instructions_per_mac": per_mac,
        "instructions_per_step": found.instructions_per_step,
        "flash_bytes": found.flash_bytes,
        "static_ram_bytes": found.static_ram_bytes,
        "peak_stack_bytes": found.peak_stack_bytes,
        "passed": limit is None or per_mac <= limit,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(
        f"{'target':<11} {'precision':<13} {'instructions (emulated) a MAC':>29} {'limit':>6} "
        f"{'a step':>9} {'flash':>8} {'RAM':>8} {'stack':>7}"
    )
    for row in rows:
        start = f"{row['target']:<11} {row['precision']:<13}"
        if "error" in row:
            print(f"{start} not measured: {row['error']}")
            continue
        limit = "" if row["limit"] is None else f"{row['limit']:.2f}"
        sizes = (size(row[key]) for key in ("flash_bytes", "static_ram_bytes", "peak_stack_bytes"))
        flash, ram, stack = sizes
        print(
            f"{start} {row['instructions_per_mac']:>29.2f} {limit:>6} "
            f"{row['instructions_per_step']:>9,.0f} {flash:>8} {ram:>8} {stack:>7}"
            + ("" if row["passed"] else "  above the limit")
        )


def write_models(folder: Path) -> dict[str, Path]:
    """Write the network in every precision; ranges are those of normal noise."""
    import torch

    from edgernn.integer import INTEGER

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.lstm(x)[0]
            return y

    torch.manual_seed(0)
    models = {precision: folder / f"lstm.{precision}.onnx" for precision in PRECISIONS}
    plain, noise = models["float32"], folder / "noise.npz"
    edgernn.export(Layer(), (torch.zeros(1, STEPS, WIDTH),), plain)
    np.savez(noise, x=np.random.default_rng(0).normal(size=(8, STEPS, WIDTH)).astype(np.float32))
    for precision in PRECISIONS[1:]:
        calibration = noise if precision in INTEGER else None
        edgernn.quantize(plain, models[precision], precision=precision, calibration=calibration)
    return models


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", action="append", dest="targets", help="default: all four")
    parser.add_argument("--json", type=Path, default=RESULTS / "cortex_m_instructions.json")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    try:
        check_writable(given.json)
        with TemporaryDirectory() as folder:
            models = write_models(Path(folder))
            rows = [
                counted(models[precision], target, precision)
                for target in given.targets or TARGETS
                for precision in PRECISIONS
            ]
        show(rows)
        value = {
            "steps": STEPS, "macs_per_step": MACS_PER_STEP, "rows": rows,
            "passed": all(row["passed"] for row in rows), "environment": environment.capture(),
        }  # fmt: skip
        write_text(given.json, json.dumps(value, indent=1) + "\n")
        failed = [row for row in rows if not row["passed"]]
        if failed:
            names = ", ".join(f"{row['target']} {row['precision']}" for row in failed)
            raise PerformanceGateError(f"limits that are not kept: {names}")
    except EdgernnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
