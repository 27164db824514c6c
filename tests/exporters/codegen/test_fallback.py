"""Operators without a kernel: C by emx-onnx-cgen within ours, against ONNX Runtime."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.c_runner import FLAGS, SANITIZE, CLibrary, CProgram
from helpers.graphs import run_onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ModelError
from edgernn.metadata import Metadata
from edgernn_exporters.codegen.emx_source import adopt, needs_libm
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.single_node import captured
from edgernn_runtimes import load

FLOAT, INT64, BOOL, DOUBLE = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE,
)  # fmt: skip
Shapes = Mapping[str, tuple[int, Sequence[int | str]]]
node = helper.make_node


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 20,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        list(nodes),
        "test",
        [value(name, *spec) for name, spec in inputs.items()],
        [value(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(made, opset_imports=imports, ir_version=10)


def draw(model: onnx.ModelProto, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        array: Any = rng.standard_normal(shape)
        if kind.elem_type in (INT64, BOOL):
            array = rng.integers(0, 2, shape)
        feeds[value.name] = np.asarray(array, helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return feeds


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


OPERATORS: dict[str, onnx.ModelProto] = {
    "Sin": graph([node("Sin", ["x"], ["y"])], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}),
    "Cos": graph([node("Cos", ["x"], ["y"])], {"x": (DOUBLE, [2, 3])}, {"y": (DOUBLE, [2, 3])}),
    "Einsum": graph(
        [node("Einsum", ["x", "w"], ["y"], equation="bij, bjk -> bik")],
        {"x": (FLOAT, [2, 3, 4])}, {"y": (FLOAT, [2, 3, 5])}, {"w": floats(2, 4, 5)},
    ),
    "TopK": graph(
        [node("TopK", ["x", "k"], ["v", "i"])],
        {"x": (FLOAT, [2, 6])}, {"v": (FLOAT, [2, 2]), "i": (INT64, [2, 2])}, {"k": [2]},
    ),
    "ScatterElements": graph(
        [node("ScatterElements", ["x", "i", "u"], ["y"], axis=1)],
        {"x": (FLOAT, [2, 5]), "i": (INT64, [1, 2]), "u": (FLOAT, [1, 2])}, {"y": (FLOAT, [2, 5])},
    ),
    "Trilu": graph(
        [node("Trilu", ["x"], ["y"], upper=0)], {"x": (FLOAT, [4, 4])}, {"y": (FLOAT, [4, 4])}
    ),
    "LRN": graph(
        [node("LRN", ["x"], ["y"], size=3)],
        {"x": (FLOAT, [1, 4, 3, 2])}, {"y": (FLOAT, [1, 4, 3, 2])},
    ),
    "Resize": graph(
        [node("Resize", ["x", "roi", "s"], ["y"], mode="linear")],
        {"x": (FLOAT, [1, 1, 3, 3])}, {"y": (FLOAT, [1, 1, 6, 6])},
        {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "GridSample": graph(
        [node("GridSample", ["x", "g"], ["y"])],
        {"x": (FLOAT, [1, 1, 3, 3]), "g": (FLOAT, [1, 2, 2, 2])}, {"y": (FLOAT, [1, 1, 2, 2])},
    ),
    "DFT": graph(
        [node("DFT", ["x", "", "axis"], ["y"])],
        {"x": (FLOAT, [1, 8, 1])}, {"y": (FLOAT, [1, 8, 2])}, {"axis": np.array(1)},
    ),
    "Det": graph([node("Det", ["x"], ["y"])], {"x": (FLOAT, [3, 3])}, {"y": (FLOAT, [])}),
    "ReverseSequence of bool": graph(
        [node("ReverseSequence", ["x", "n"], ["y"], time_axis=0, batch_axis=1)],
        {"x": (BOOL, [4, 3]), "n": (INT64, [3])}, {"y": (BOOL, [4, 3])},
    ),
    "DeformConv": graph(
        [node("DeformConv", ["x", "w", "o"], ["y"])],
        {"x": (FLOAT, [1, 1, 3, 3]), "o": (FLOAT, [1, 8, 2, 2])}, {"y": (FLOAT, [1, 1, 2, 2])},
        {"w": floats(1, 1, 2, 2)},
    ),
    "ReverseSequence": graph(
        [node("ReverseSequence", ["x", "n"], ["y"], time_axis=0, batch_axis=1)],
        {"x": (FLOAT, [4, 3]), "n": (INT64, [3])}, {"y": (FLOAT, [4, 3])},
    ),
    "FusedMatMul": graph(
        [node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transB=1)],
        {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 4])}, {"w": floats(4, 3)},
        domains=["com.microsoft"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_equals_onnx_runtime(name: str, tmp_path: Path) -> None:
    model = OPERATORS[name]
    feeds = draw(model)
    library = CLibrary(model, tmp_path / "c")
    assert [name.split()[0] in label for label in library.project.fallback] == [True]
    found = library.run(feeds)
    for output, expected in run_onnx(model, feeds).items():
        np.testing.assert_allclose(found[output], expected, atol=1e-5, rtol=0)


def test_constants_are_counted_as_flash(tmp_path: Path) -> None:
    assert CLibrary(OPERATORS["Einsum"], tmp_path / "c").project.weight_bytes == 160


def test_math_library_is_needed_only_for_functions_without_one_of_ours(tmp_path: Path) -> None:
    assert CLibrary(OPERATORS["Sin"], tmp_path / "a").project.libm
    assert not CLibrary(OPERATORS["DeformConv"], tmp_path / "b").project.libm


def mixed() -> onnx.ModelProto:
    """LSTM, then operators of every kind of result, one of them twice."""
    hidden = 6
    return graph(
        [
            node("LSTM", ["x", "W", "R"], ["y0", "", "c0"], hidden_size=hidden),
            node("Sin", ["y0"], ["s1"]),
            node("Cos", ["s1"], ["c1"]),
            node("Sin", ["c1"], ["s2"]),
            node("Mul", ["s1", "s2"], ["p"]),
            node("TopK", ["p", "k"], ["best", "where"], axis=3),
            node("ReduceSum", ["best", "axes"], ["y"], keepdims=0),
        ],
        {"x": (FLOAT, [4, 2, 5])},
        {"y": (FLOAT, [4, 2]), "where": (INT64, [4, 1, 2, 3]), "c0": (FLOAT, [1, 2, hidden])},
        {"W": floats(1, 4 * hidden, 5) / 4, "R": floats(1, 4 * hidden, hidden) / 4, "k": [3],
         "axes": np.array([1, 3])},
    )  # fmt: skip


def test_mixed_with_a_recurrent_layer(tmp_path: Path) -> None:
    model = mixed()
    feeds = draw(model)
    library = CLibrary(model, tmp_path / "c", compiler=["clang"])
    labels = [label.split()[0] for label in library.project.fallback]
    assert labels[:3] == ["Sin", "Cos", "Sin"]
    assert "LSTM" not in labels
    found = library.run(feeds)
    for output, expected in run_onnx(model, feeds).items():
        np.testing.assert_allclose(found[output], expected, atol=2e-6, rtol=0)
    code = (tmp_path / "c" / "net.c").read_text()
    assert code.count("static void net_emx_sin(") == 1
    assert code.count("net_emx_sin(y0") + code.count("net_emx_sin(c1") == 2


def branch(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(name, FLOAT, [2, 3])
    return helper.make_graph(list(nodes), "*/ branch", [], [output])


def choice() -> onnx.ModelProto:
    """An If whose branches read two values and a constant of the graph around them."""
    then = branch("*/t", [node("Sin", ["v"], ["s \n"]), node("Mul", ["s \n", "w"], ["*/t"])])
    other = branch("e", [node("Neg", ["x"], ["e"])])
    return graph(
        [
            node("Cos", ["x"], ["v"]),
            node("If", ["c"], ["y"], name="*/", then_branch=then, else_branch=other),
        ],
        {"c": (BOOL, []), "x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 3])},
        {"w": np.array([1, 2, 3], np.float32)},
    )


@pytest.mark.parametrize("condition", [True, False])
def test_subgraphs_read_values_from_outside(condition: bool, tmp_path: Path) -> None:
    model = choice()
    assert captured(model.graph.node[1]) == ["x", "v", "w"]
    feeds = {**draw(model), "c": np.array(condition)}
    library = CLibrary(model, tmp_path / "c")
    assert library.project.scratch_bytes > 0  # the branches' values are planned, not on the stack
    np.testing.assert_allclose(library.run(feeds)["y"], run_onnx(model, feeds)["y"], atol=1e-6)


def test_value_that_a_subgraph_reads_is_not_fused_away(tmp_path: Path) -> None:
    then = branch("t", [node("Sin", ["m"], ["t"])])
    other = branch("e", [node("Neg", ["m"], ["e"])])
    model = graph(
        [
            node("MatMul", ["x", "w"], ["m"]),
            node("Add", ["m", "bias"], ["z"]),
            node("If", ["which"], ["y"], then_branch=then, else_branch=other),
        ],
        {"which": (BOOL, []), "x": (FLOAT, [2, 4])},
        {"y": (FLOAT, [2, 3]), "z": (FLOAT, [2, 3])},
        {"w": floats(4, 3), "bias": floats(3)},
    )
    feeds = draw(model)
    found = CLibrary(model, tmp_path / "c").run(feeds)
    for output, expected in run_onnx(model, feeds).items():
        np.testing.assert_allclose(found[output], expected, atol=1e-6)


@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    for number, model in enumerate([mixed(), choice(), OPERATORS["Resize"], OPERATORS["TopK"]]):
        feeds = draw(model)
        program = CProgram(model, tmp_path / str(number), flags=[*FLAGS, *SANITIZE])
        found = program.run(feeds)
        for output, expected in run_onnx(model, feeds).items():
            np.testing.assert_allclose(found[output], expected, atol=2e-6, rtol=0)


def streaming() -> onnx.ModelProto:
    """GRU, Sin, GRU over a dynamic time axis, with a state contract."""
    inputs, hidden = 5, 6
    nodes, constants = [], {}
    source = "x"
    for layer, width in ((0, inputs), (1, hidden)):
        constants[f"W{layer}"] = floats(1, 3 * hidden, width) / 3
        constants[f"R{layer}"] = floats(1, 3 * hidden, hidden) / 3
        parameters = [source, f"W{layer}", f"R{layer}", "", "", f"h{layer}"]
        nodes.append(
            node("GRU", parameters, [f"y{layer}", f"k{layer}"], hidden_size=hidden,
                 linear_before_reset=1)
        )  # fmt: skip
        nodes.append(node("Squeeze", [f"y{layer}", "one"], [f"z{layer}"]))
        if layer == 0:
            nodes.append(node("Sin", ["z0"], ["sine"]))
            source = "sine"
    state = (FLOAT, [1, "batch", hidden])
    model = graph(
        nodes,
        {"x": (FLOAT, ["time", "batch", inputs]), "h0": state, "h1": state},
        {"z1": (FLOAT, ["time", "batch", hidden]), "k0": state, "k1": state},
        {**constants, "one": np.array([1])},
    )
    axes = Axes(batch=1, time=0)
    contract = Contract(
        (StateSpec("h0", "k0", 1), StateSpec("h1", "k1", 1)),
        StreamSpec(True, {"x": axes}, {"z1": axes}),
    )
    helper.set_model_props(model, Metadata(contract).to_props())
    return model


def test_streaming_model_goes_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(streaming(), path)
    library = CLibrary(path, tmp_path / "c")
    assert library.project.chunk == 1
    assert [label.split()[0] for label in library.project.fallback] == ["Sin"]
    x = floats(9, 1, 5)
    expected = load(path, "cpu", threads=1).run({"x": x})["z1"]
    np.testing.assert_allclose(library.run({"x": x})["z1"], expected, atol=2e-6)
    library.reset()
    steps = [library.step({"x": x[i : i + 1]})["z1"] for i in range(9)]
    np.testing.assert_allclose(np.concatenate(steps), expected, atol=2e-6)


# Refusals


def refusal(model: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        CLibrary(model, folder / "c")
    text = str(caught.value)
    assert "\n" not in text
    return text


def unary(operator: str, **options: Any) -> onnx.ModelProto:
    domain = options.get("domain", "")
    return graph(
        [node(operator, ["x"], ["y"], **options)],
        {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}, domains=[domain] if domain else [],
    )  # fmt: skip


def test_unknown_operator_is_refused_with_both_reasons(tmp_path: Path) -> None:
    text = refusal(unary("Foo", domain="a.b"), tmp_path)
    assert "a.b.Foo y: no kernel for this operator; emx-onnx-cgen: Unsupported op a.b.Foo" in text


def test_text_attributes_do_not_reach_the_source(tmp_path: Path) -> None:
    text = refusal(unary("Foo", domain="a.b", mode="*/ evil"), tmp_path)
    assert "its attribute 'mode' holds unusual characters" in text


def test_random_operators_are_refused(tmp_path: Path) -> None:
    assert "it draws random numbers" in refusal(unary("Bernoulli"), tmp_path)


def test_recurrent_operators_in_subgraphs_are_refused(tmp_path: Path) -> None:
    then = branch("t", [node("RNN", ["x", "w", "w"], ["t"], hidden_size=3)])
    model = graph(
        [node("If", ["c"], ["y"], then_branch=then, else_branch=then)],
        {"c": (BOOL, []), "x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}, {"w": floats(3, 3)},
    )  # fmt: skip
    assert "emx-onnx-cgen is not asked for recurrent operators" in refusal(model, tmp_path)


def test_sizes_that_depend_on_values_are_refused(tmp_path: Path) -> None:
    model = graph(
        [node("NonZero", ["x"], ["n"]), node("Size", ["n"], ["y"])],
        {"x": (FLOAT, [2, 3])}, {"y": (INT64, [])},
    )  # fmt: skip
    assert "the size of its result depends on values" in refusal(model, tmp_path)


def test_without_emx_onnx_cgen_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "emx_onnx_cgen.errors", None)
    assert "pip install 'edgernn[embedded]'" in refusal(unary("Sin"), tmp_path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("void network(float x[1]) { float *p = malloc(4); }", "uses malloc"),
        ("void network(float x[1]) { static float p[4]; }", "variables that outlive a call"),
        ("#include <regex.h>\nvoid network(float x[1]) { }", "needs <regex.h>"),
        ("#pragma once\nvoid network(float x[1]) { }", "holds '#pragma once'"),
        ('void network(float x[1]) { char *p = "a"; }', "handles text"),
        ("void network(float x[1], int n) { }", "other parameters than tensors"),
        ("typedef int a;\nstruct b { int c; };\nvoid network(float x[1]) { }", "holds 'struct b'"),
        ("void other(float x[1]) { }", "has no entry"),
    ],
)
def test_code_that_must_not_be_emitted_is_refused(code: str, reason: str) -> None:
    with pytest.raises(NotLoweredError, match=reason):
        adopt(code, lambda name, size: None)


def test_only_functions_in_use_are_kept() -> None:
    emitted = adopt(
        "static inline float a(float x) { return sqrtf(x); }\n"
        "static inline float b(float x) { return sinf(x); }\n"
        "void network(const float in_0[restrict 2][3], float out_0[restrict 2][3]) {\n"
        "    out_0[0][0] = a(in_0[1][2]);\n}\n",
        lambda name, size: None,
    )
    assert "@_b" not in emitted.text
    assert "return edgernn_sqrt(x)" in emitted.text
    assert "static void @(const float *in_0, float *out_0)" in emitted.text
    assert emitted.ours
    assert not needs_libm({"f": emitted.text})
