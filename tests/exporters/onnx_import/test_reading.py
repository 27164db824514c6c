"""Files that are broken, too large or hostile end with a reason, not with a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.foreign import NODE, foreign, lstm_model, save, value
from helpers.graphs import normal, tensor
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import import checking
from edgernn_exporters.onnx_import.limits import DEFAULT, Limits
from edgernn_exporters.onnx_import.reading import read


def refused(path: Path, limits: Limits = DEFAULT) -> str:
    with pytest.raises(ModelError) as caught:
        read(path, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    path = save(lstm_model(), tmp_path)
    found = read(path)
    assert found.model == lstm_model()
    assert (found.bytes, found.flushed) == (path.stat().st_size, 0)


def test_files_that_are_cut_off_or_no_models(tmp_path: Path) -> None:
    content = lstm_model().SerializeToString()
    for name, data in {
        "cut": content[: len(content) // 2],
        "text": b"this is a text file, not a model\n",
        "zip": b"PK\x03\x04" + bytes(100),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert "export it" in refused(tmp_path / name)
    (tmp_path / "empty").write_bytes(b"")
    assert "without a graph" in refused(tmp_path / "empty")


@pytest.mark.slow
@given(seed=st.integers(0, 1000))
def test_flipped_bytes_never_crash(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(lstm_model(hidden=2, inputs=2).SerializeToString())
    for place in rng.integers(0, len(content), 4):
        content[place] = rng.integers(0, 256)
    path = tmp_path_factory.mktemp("flip") / "model.onnx"
    path.write_bytes(content)
    with suppress(ModelError):
        read(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing.onnx") == "cannot be read: no such file or directory"
    assert "directory" in refused(tmp_path) or "regular file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "not a regular file" in refused(tmp_path / "pipe.onnx")


def test_the_size_is_looked_at_before_the_content(tmp_path: Path) -> None:
    path = tmp_path / "sparse.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, nowhere on the disk
    assert "1,099,511,627,776 bytes, more than the 1,073,741,824" in refused(path)
    small = save(lstm_model(), tmp_path)
    assert "--max-file" in refused(small, Limits(file_bytes=100))


def test_a_parser_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(lstm_model(), tmp_path)
    (tmp_path / "crashing.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    (tmp_path / "failing.py").write_text("raise SystemError('odd')\n")
    (tmp_path / "raising.py").write_text(
        "from edgernn_exporters.onnx_import import child\n"
        "def check(content, budget):\n"
        "    raise SystemError('strange')\n"
        "child._check = check\n"
        "child.main()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, word in (
        ("crashing", "crashes on it (SIGSEGV)"),
        ("failing", "fails on it (SystemError: odd)"),
        ("raising", "fails on it (SystemError: strange)"),
    ):
        checking.close()
        monkeypatch.setattr(checking, "_CHILD", name)
        assert word in refused(path)
    checking.close()


def test_a_file_on_which_the_parser_crashes_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one on which it hangs: the process that forks for each file checks the next one."""
    path = save(lstm_model(), tmp_path)
    (tmp_path / "fragile.py").write_text(
        "import os, signal, time\n"
        "from edgernn_exporters.onnx_import import child\n"
        "def check(content, budget):\n"
        "    if budget == 1:\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if budget == 2:\n"
        "        time.sleep(60)\n"
        "    if budget == 3:\n"
        "        os.write(1, b'{}\\n')  # it cannot answer for others\n"
        "        os._exit(0)\n"
        "child._check = check\n"
        "child.main()\n"
    )
    checking.close()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checking, "_CHILD", "fragile")
    monkeypatch.setattr(checking, "CHECK_SECONDS", 1)
    assert "crashes on it (SIGSEGV)" in refused(path, Limits(tensor_bytes=1))
    process = checking._started[0]
    assert "checking it takes more than 1 s" in refused(path, Limits(tensor_bytes=2))
    assert "it ends without an answer" in refused(path, Limits(tensor_bytes=3))
    assert read(path).model.graph.node
    assert checking._started == [process]
    checking.close()


def test_where_a_process_cannot_fork_it_checks_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forkless.py").write_text(
        "import os\nfrom edgernn_exporters.onnx_import import child\ndel os.fork\nchild.main()\n"
    )
    checking.close()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checking, "_CHILD", "forkless")
    path = save(lstm_model(), tmp_path)
    for _ in range(2):
        assert read(path).model.graph.node
        assert not checking._started
    assert "--max-tensor" in refused(path, Limits(tensor_bytes=1000))


def test_a_process_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent.py").write_text("import time\ntime.sleep(60)\n")
    checking.close()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checking, "_CHILD", "silent")
    monkeypatch.setattr(checking, "CHECK_SECONDS", 1)
    monkeypatch.setattr(checking, "_GRACE_SECONDS", 0)
    assert "checking it takes more than 1 s" in refused(save(lstm_model(), tmp_path))
    assert not checking._started


def test_a_fork_of_this_process_has_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(lstm_model(), tmp_path)
    assert read(path).model.graph.node
    first = checking._started[0]
    monkeypatch.setattr(first, "owner", 0)  # as it is seen from a fork
    assert read(path).model.graph.node
    assert checking._started[0] is not first
    first.end()


def test_no_module_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit('taken')")
    checking.close()
    monkeypatch.chdir(tmp_path)
    assert read(save(lstm_model(), tmp_path)).model.graph.node


def test_a_file_that_unfolds_in_memory(tmp_path: Path) -> None:
    nodes = b"\x0a\x00" * (1 << 24)  # 16 million empty nodes in 32 MB
    length, prefix = len(nodes), bytearray(b"\x3a")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    path = tmp_path / "bomb.onnx"
    path.write_bytes(b"\x08\x08" + bytes([*prefix, length]) + nodes)
    assert "takes more memory than a sound file" in refused(path)


def test_sizes_are_compared_with_what_is_there(tmp_path: Path) -> None:
    def with_weight(**fields: object) -> Path:
        model = lstm_model()
        for name, item in fields.items():
            if name == "dims":
                model.graph.initializer[0].dims[:] = item
            else:
                setattr(model.graph.initializer[0], name, item)
        return save(model, tmp_path)

    assert "tensor 'W' declares shape [1, -32, 4]" in refused(with_weight(dims=[1, -32, 4]))
    assert "declares shape [1, 32, 5], 640 bytes, but holds 512" in refused(
        with_weight(dims=[1, 32, 5])
    )
    assert "but holds 3" in refused(with_weight(raw_data=b"abc"))
    huge = refused(with_weight(dims=[1 << 62, 1 << 62]))
    assert "more than the 1,073,741,824 that are allowed" in huge
    assert "--max-tensor" in refused(save(lstm_model(), tmp_path), Limits(tensor_bytes=1000))
    assert "unknown type 99" in refused(with_weight(data_type=99))
    typed = lstm_model()
    typed.graph.initializer[0].ClearField("raw_data")
    typed.graph.initializer[0].float_data.extend([1.0] * 127)
    assert "128 values, but holds 127" in refused(save(typed, tmp_path))


@pytest.mark.parametrize("sizes", [[1 << 20, 1 << 20], [1 << 40, 1 << 40], [1 << 31]])
@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile"])
def test_shape_bombs(operator: str, sizes: list[int], tmp_path: Path) -> None:
    shape = tensor("shape", np.array(sizes))
    before = {
        "ConstantOfShape": ["shape"],
        "Expand": ["one", "shape"],
        "Tile": ["one", "shape"],
    }[operator]
    one = tensor("one", np.ones([1] * len(sizes), np.float32))
    nodes = [
        NODE(operator, before, ["big"]),
        NODE("ReduceSum", ["big"], ["sum"]),
        NODE("Add", ["x", "sum"], ["y"]),
    ]
    model = foreign(nodes, [value("x", [1])], [value("y", None)], [shape, one])
    assert "value 'big' of shape" in refused(save(model, tmp_path))


def test_unknown_operators_are_all_named(tmp_path: Path) -> None:
    model = lstm_model()
    model.graph.node.extend(
        [
            NODE("FusedMatMul", ["x", "x"], ["u"], domain="com.microsoft", name="fused"),
            NODE("Magic", ["x"], ["v"], name="magic"),
            NODE("Magic", ["x"], ["w"]),
        ]
    )
    text = refused(save(model, tmp_path))
    for part in ("FusedMatMul of domain 'com.microsoft'", "'fused'", "'magic'", "'w'", "opset 17"):
        assert part in text
    assert "custom operators" in text


def test_operators_of_another_opset(tmp_path: Path) -> None:
    later = lstm_model(opset=13)
    later.graph.node.append(NODE("Gelu", ["x"], ["g"]))
    assert "no standard ONNX of opset 13: Gelu" in refused(save(later, tmp_path))
    newest = onnx.defs.onnx_opset_version()
    assert f"opset {newest + 1}, and {newest} is the newest" in refused(
        save(lstm_model(opset=newest + 1), tmp_path)
    )


def test_opset_imports(tmp_path: Path) -> None:
    model = lstm_model()
    model.opset_import.append(helper.make_opsetid("ai.onnx", 12))
    assert "imports two versions, 17 and 12" in refused(save(model, tmp_path))
    del model.opset_import[:]
    assert "does not import" in refused(save(model, tmp_path))


def test_functions_that_call_themselves_or_explode(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]

    def function(name: str, calls: str, times: int) -> onnx.FunctionProto:
        names = ["a", *(f"t{place}" for place in range(times - 1)), "b"]
        nodes = [NODE(calls, [names[k]], [names[k + 1]], domain="mine") for k in range(times)]
        return helper.make_function("mine", name, ["a"], ["b"], nodes, imports)

    def model(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
        made = foreign(
            [NODE("f0", ["x"], ["y"], domain="mine")], [value("x", [2])], [value("y", [2])],
            functions=functions,
        )  # fmt: skip
        made.opset_import.append(helper.make_opsetid("mine", 1))
        return made

    loop = model([function("f0", "f1", 1), function("f1", "f0", 1)])
    assert "calls itself" in refused(save(loop, tmp_path))
    laughs = [function(f"f{k}", f"f{k + 1}", 10) for k in range(12)]
    laughs.append(
        helper.make_function("mine", "f12", ["a"], ["b"], [NODE("Relu", ["a"], ["b"])], imports)
    )
    assert "1,000,000,000,000 nodes with its functions" in refused(save(model(laughs), tmp_path))


@pytest.mark.parametrize(
    ("name", "shape", "label"),
    [
        ("W", [1, 32, 5], "weight W"),
        ("W", [1, 31, 4], "weight W"),
        ("W", [32, 4], "weight W"),
        ("R", [1, 32, 7], "weight R"),
        ("R", [2, 32, 8], "weight R"),
        ("B", [1, 32], "bias B"),
    ],
)
def test_weights_that_disagree_with_hidden_size(
    name: str, shape: list[int], label: str, tmp_path: Path
) -> None:
    model = lstm_model()
    place = [t.name for t in model.graph.initializer].index(name)
    model.graph.initializer[place].CopyFrom(tensor(name, np.zeros(shape, np.float32)))
    text = refused(save(model, tmp_path))
    assert text.startswith(f"LSTM node 'lstm': {label} ('{name}') has shape {shape}, but")
    assert "hidden_size 8 and direction forward need" in text


def test_lengths_that_are_no_lengths(tmp_path: Path) -> None:
    model = lstm_model()
    for size, place in ((5, 0), (2, 1)):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    model.graph.node[0].input[4] = "lengths"
    for values, fits in ([0, 5], True), ([-1, 3], False), ([1, 6], False), ([1, 1, 1], False):
        lengths = tensor("lengths", np.array(values, np.int32))
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.initializer.append(lengths)
        path = save(copy, tmp_path)
        if fits:
            assert read(path)
        else:
            assert "sequence_lens" in refused(path)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    for value_, text in ((np.nan, "holds nan at index [0, 3, 2]"), (np.inf, "holds inf")):
        model = lstm_model()
        w = normal(0, 1, 32, 4)
        w[0, 3, 2] = value_
        model.graph.initializer[0].CopyFrom(tensor("W", w))
        assert text in refused(save(model, tmp_path))
    model = lstm_model()
    w = normal(0, 1, 32, 4)
    w[0, :2] = 1e-40
    model.graph.initializer[0].CopyFrom(tensor("W", w))
    found = read(save(model, tmp_path))
    assert found.flushed == 8
    got = onnx.numpy_helper.to_array(found.model.graph.initializer[0])
    w[0, :2] = 0
    np.testing.assert_array_equal(got, w)
    mask = foreign(
        [NODE("Add", ["x", "mask"], ["y"])], [value("x", [2])], [value("y", [2])],
        [tensor("mask", np.array([0, -np.inf], np.float32))],
    )  # fmt: skip
    assert read(save(mask, tmp_path)).model == mask  # attention masks are infinite


@pytest.mark.parametrize("coordinates", [False, True])
def test_sparse_weights_become_dense(coordinates: bool, tmp_path: Path) -> None:
    def model(indices: list[int]) -> onnx.ModelProto:
        places = np.array(indices)
        if coordinates:
            places = np.stack(np.unravel_index(places, (3, 4)), 1)
        sparse = helper.make_sparse_tensor(
            tensor("w", np.array([1, 2], np.float32)), tensor("w.at", places), [3, 4]
        )
        made = foreign([NODE("MatMul", ["x", "w"], ["y"])], [value("x", [2, 3])],
                       [value("y", [2, 4])])  # fmt: skip
        made.graph.sparse_initializer.append(sparse)
        return made

    found = read(save(model([1, 7]), tmp_path)).model
    assert not found.graph.sparse_initializer
    want = np.zeros(12, np.float32)
    want[[1, 7]] = 1, 2
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(found.graph.initializer[0]), want.reshape(3, 4)
    )
    huge = model([1, 7])
    huge.graph.sparse_initializer[0].dims[:] = [1 << 40, 1 << 40]
    assert "tensor 'w'" in refused(save(huge, tmp_path))
    if not coordinates:
        assert "out of range" in refused(save(model([1, 12]), tmp_path))


def test_an_ir_version_of_the_future(tmp_path: Path) -> None:
    newer = lstm_model(ir_version=onnx.IR_VERSION + 1)
    assert read(save(newer, tmp_path)).model == newer
