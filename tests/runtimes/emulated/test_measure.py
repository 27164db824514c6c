from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.mini_projects import LEAKY, WHOLE, Mini

from edgernn.errors import InputError, UsageError


def with_sizes(pad: int, nops: int) -> Mini:
    return replace(LEAKY, body=f"#define PAD {pad}\n#define NOPS {nops}\n{LEAKY.body}")


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m55", "riscv32", "aarch64"])
def test_instructions_and_stack_are_exact(opened: Any, board: str) -> None:
    few = opened(with_sizes(400, 10), board).measure(6)
    many = opened(with_sizes(1424, 310), board).measure(6)
    assert many.instructions - few.instructions == pytest.approx(6 * 300, abs=6 * 3)
    assert many.peak_stack_bytes - few.peak_stack_bytes == pytest.approx(1024, abs=16)
    assert many.flash_bytes - few.flash_bytes == pytest.approx(
        300 * (4 if board == "aarch64" else 2), abs=64
    )


def test_one_call_of_many_steps_and_many_of_one(opened: Any) -> None:
    session = opened("leaky")
    whole, steps = session.measure(20), session.measure(20, call="step")
    assert (whole.calls, steps.calls) == (1, 20)
    assert 0 < steps.instructions < whole.instructions < 2 * steps.instructions
    assert session.measure(1) == session.measure(1, call="step")
    assert session.measure(1, call="run").instructions > session.measure(1).instructions
    assert whole.instructions_per_step == whole.instructions / 20


def test_measuring_leaves_streams_alone(opened: Any) -> None:
    session = opened("leaky")
    stream = session.stream()
    stream.step(np.ones((1, 2, 2), np.float32))
    before = stream.state["h"]
    session.measure(3)
    np.testing.assert_array_equal(stream.state["h"], before)


def test_given_inputs_are_used(opened: Any) -> None:
    loop = replace(
        WHOLE,
        body=WHOLE.body.replace(
            "(void)state;",
            "(void)state; for (volatile int n = (int)x[0]; n > 0; n--) {}",
        ),
    )
    session = opened(loop)
    counts = [
        session.measure(inputs={"x": np.full((1, 2, 2), times, np.float32)}).instructions
        for times in (0, 1, 2, 102)
    ]
    assert 3 < counts[2] - counts[1] < 12
    assert counts[3] - counts[2] == 100 * (counts[2] - counts[1])


def test_static_variables_and_scratch_count_as_ram(opened: Any) -> None:
    fat = replace(
        LEAKY,
        scratch=1000,
        body="static int fat[50]; const char table[3000] = {1};\n" + LEAKY.body.replace(
            "pad[0] = 1;", "pad[0] = table[(fat[(int)x[0] & 15]++) & 2047];"
        ),
    )  # fmt: skip
    lean, more = opened("leaky").footprint, opened(fat).footprint
    assert more.static_ram_bytes - lean.static_ram_bytes == 1000 + 200
    assert 3000 <= more.flash_bytes - lean.flash_bytes < 3200
    assert more.image_flash_bytes - lean.image_flash_bytes == pytest.approx(
        more.flash_bytes - lean.flash_bytes, abs=32
    )


def test_wrong_requests_are_refused(opened: Any) -> None:
    session = opened("leaky")
    with pytest.raises(UsageError, match="call must be 'run' or 'step', got 'all'"):
        session.measure(1, call="all")
    with pytest.raises(UsageError, match="steps must be at least 1, got 0"):
        session.measure(0)
    with pytest.raises(InputError, match="measure one row, not a batch of 2"):
        session.measure(inputs={"x": np.zeros((2, 1, 2), np.float32)})
