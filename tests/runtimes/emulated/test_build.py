from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.mini_projects import LEAKY, WHOLE, leaky

from edgernn.errors import ModelError, OutputError, TargetUnavailable, UsageError
from edgernn_runtimes.emulated.adapter import load, probe
from edgernn_runtimes.emulated.boards import BOARDS
from edgernn_runtimes.emulated.image import Image
from edgernn_runtimes.emulated.toolchain import find, require

X = normal(1, 2, 5, 2)


def tools(folder: Path, *names: str) -> str:
    """Return a PATH on which only these programs are."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


# Does it fit?


@pytest.mark.parametrize(
    ("mini", "board", "expected"),
    [
        (replace(LEAKY, weights=5 << 20), "cortex-m4",
         r"5,120.0 KiB of constants do not fit the 4,095.0 KiB of flash of cortex-m4 \(mps2-an386\)"
         r"; quantize"),
        (replace(LEAKY, scratch=2 << 20), "cortex-m55",
         r"2,048.0 KiB of state and scratch memory and 0.0 KiB for inputs and outputs do not fit "
         r"the 2,048.0 KiB of RAM of cortex-m55 \(mps3-an547\), of which 64.0 KiB are stack"),
        (replace(WHOLE, scratch=4_125_000), "riscv32", "do not fit the 4,096.0 KiB of RAM"),
    ],
)  # fmt: skip
def test_too_big_is_said_before_anything_is_built(
    opened: Any, cache: Path, mini: Any, board: str, expected: str
) -> None:
    before = set(cache.rglob("*"))
    with pytest.raises(ModelError, match=expected) as caught:
        opened(mini, board, fresh=True)
    assert caught.value.exit_code == 3
    assert set(cache.rglob("*")) == before


def test_linux_boards_have_room(opened: Any) -> None:
    session = opened(replace(LEAKY, scratch=8 << 20), "aarch64")
    np.testing.assert_array_equal(session.run({"x": X})["y"], leaky(X))


def test_too_big_is_also_found_by_the_linker(opened: Any, cache: Path) -> None:
    before = set(cache.rglob("*"))
    use = "pad[0] = 1; if (big[(int)x[0] & 255]) return 0;"
    body = LEAKY.body.replace("pad[0] = 1;", use)
    flash = replace(LEAKY, body="const char big[4194304] = {1};\n" + body)
    with pytest.raises(
        ModelError, match=r"needs 4,\d{3}\.\d KiB of flash, and cortex-m4 .* has 4,095"
    ):
        opened(flash, fresh=True)
    ram = replace(LEAKY, body="char big[4194304];\n" + body)
    with pytest.raises(
        ModelError, match=r"needs 4,\d{3}\.\d KiB of RAM, and cortex-m4 .* has 4,096"
    ):
        opened(ram, fresh=True)
    assert set(cache.rglob("*")) == before


# Compilers and emulators


def test_a_compiler_that_fails_gives_one_line(opened: Any, cache: Path) -> None:
    before = set(cache.rglob("*"))
    with pytest.raises(ModelError) as caught:
        opened(replace(LEAKY, body="int x = ;\n" + LEAKY.body), fresh=True)
    text = str(caught.value)
    assert "building the program for cortex-m4" in text
    assert "failed with exit code 1" in text
    assert "leaky.c:5:9: error: expected expression before ';' token" in text
    assert "\n" not in text
    with pytest.raises(ModelError, match="undefined reference to `nowhere'"):
        opened(replace(LEAKY, body="int nowhere(void);\n" + LEAKY.body.replace(
            "pad[0] = 1;", "pad[0] = nowhere();")), fresh=True)  # fmt: skip
    assert set(cache.rglob("*")) == before


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_is_found_here(board: str) -> None:
    found = probe(board)
    assert found.available
    assert (
        found.detail.startswith(f"QEMU 7.2.22 {BOARDS[board].machine}, ") or "QEMU" in found.detail
    )
    assert found.remedy == ""


@pytest.mark.parametrize("board", BOARDS)
def test_without_programs_the_target_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, board: str
) -> None:
    spec = BOARDS[board]
    install = f"apt-get install {' '.join(spec.packages)}"

    def refused(path: str, text: str) -> None:
        monkeypatch.setenv("PATH", path)
        found = probe(board)
        assert (found.available, found.detail, found.remedy) == (False, text, install)
        with pytest.raises(TargetUnavailable) as caught:
            load("none.onnx", board=board, compile=lambda: None)
        assert str(caught.value) == f"target {board}: {text}; install it with: {install}"

    compiler, emulator = tools(tmp_path / "c", spec.compiler), tools(tmp_path / "e", spec.emulator)
    fake = tmp_path / "f"
    fake.mkdir()
    (fake / spec.compiler).write_text("#!/bin/sh\necho libc.a\n")  # knows no folder of it
    (fake / spec.compiler).chmod(0o755)
    library = "libc.a" if spec.memory is None else "picolibc.specs"
    refused("", f"{spec.emulator} and {spec.compiler} not found")
    refused(compiler, f"{spec.emulator} not found")
    refused(emulator, f"{spec.compiler} not found")
    refused(f"{fake}:{emulator}", f"{spec.compiler} has no C library ({library})")


def test_an_emulator_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    board = BOARDS["cortex-m4"]
    (tmp_path / board.emulator).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / board.emulator).chmod(0o755)
    compiler = Path(str(shutil.which(board.compiler))).parent
    monkeypatch.setenv("PATH", f"{tmp_path}:{compiler}")
    with pytest.raises(TargetUnavailable, match="qemu-system-arm does not start; install"):
        require(board)


def test_options_out_of_range_are_usage_errors(opened: Any) -> None:
    with pytest.raises(UsageError, match="isa must be 'portable' or left out, got 'avx2'"):
        opened("leaky", fresh=True, isa="avx2")
    with pytest.raises(UsageError, match="timeout_s must be above 0"):
        opened("leaky", fresh=True, timeout_s=0)


# The cache


def test_the_same_content_is_built_once(opened: Any, cache: Path) -> None:
    def built() -> dict[Path, int]:
        return {file: file.stat().st_ino for file in cache.rglob("*.elf")}

    opened("leaky", fresh=True)
    before = built()
    session = opened("leaky", fresh=True)
    assert built() == before
    other = opened(replace(LEAKY, body=LEAKY.body + "/* changed */"), fresh=True)
    assert len(built()) == len(before) + 1
    portable = opened("leaky", fresh=True, isa="portable")
    assert len(built()) == len(before) + 2
    for item in (session, other):
        np.testing.assert_array_equal(item.run({"x": X})["y"], leaky(X))
    np.testing.assert_array_equal(
        portable.run({"x": X})["y"], leaky(X) + np.array([2, -2], np.float32)
    )


def test_parallel_builds_of_the_same_program(opened: Any) -> None:
    mini = replace(LEAKY, body=LEAKY.body + "/* in parallel */")
    wrong: list[object] = []

    def work() -> None:
        try:
            session = opened(mini, fresh=True)
            if not (session.run({"x": X})["y"] == leaky(X)).all():
                wrong.append("y")
            session.close()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_cache_that_cannot_be_written(
    opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write"):
        opened("leaky", fresh=True)


# What the linker made


def test_a_link_map_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.map").write_text(
        "Discarded input sections\n"
        " .text.gone     0x00000000       0x10 /tmp/model_a.o\n\n"
        "Linker script and memory map\n\n"
        " .text.short    0x00000400       0x20 /tmp/model_a.o\n"
        "                0x00000400                short\n"
        " .text.a_function_with_a_long_name\n"
        "                0x00000420      0x100 /tmp/model_a.o\n"
        " .rodata.table  0x00001000     0x1000 /tmp/model_b.o\n"
        " .data.counter  0x20000000        0x4 /tmp/model_b.o\n"
        " COMMON         0x20000100        0x8 /tmp/model_b.o\n"
        " .bss.buffer    0x20000200       0x40 /tmp/runner.o\n"
        " .debug_info    0x00000000     0x9999 /tmp/model_a.o\n"
        " *fill*         0x00000000        0x2 \n"
    )
    elf = next(file for file in _elves())
    image = Image(elf, tmp_path / "a.map")
    footprint = image.footprint("model_", "runner_state")
    assert footprint.flash_bytes == 0x20 + 0x100 + 0x1000 + 4
    assert footprint.static_ram_bytes == footprint.state_bytes + 4 + 8
    start, size = image.symbols["main"]
    assert image.function_at(start + size - 2) == "main"
    assert image.function_at(0xFFFF_FFFF) == "?"
    assert image.address("edgernn_roi_begin") % 2 == 0


def _elves() -> list[Path]:
    import os

    return sorted(Path(os.environ["EDGERNN_CACHE"]).rglob("*.elf"))


def test_find_returns_what_was_found() -> None:
    found = find(BOARDS["cortex-m4"])
    assert Path(found.compiler).name == "arm-none-eabi-gcc"  # type: ignore[union-attr]
