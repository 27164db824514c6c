"""Check models in a process of its own: ``python -m …child``, asked by `checking.check`.

A request is a line of JSON, ``{"bytes": n, "budget": …, "seconds": …}``, and n bytes of a model.
The answer is a line of JSON: an empty object if the model may be used, ``{"error": reason}`` if
not; ``{"signal": number}``, ``{"failed": reason}`` or ``{"late": true}`` if its check crashed,
failed or did not end. Each model is parsed in a fork of this process, which sees no other request
and can give no other answer; what crashes it, or takes too much memory or time, ends only that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgernn.errors import ModelError, first_line
from edgernn_exporters.onnx_import.checks import (
    check_bodies,
    check_operators,
    check_recurrent,
    check_values,
)
from edgernn_exporters.onnx_import.limits import CHECK_BYTES
from edgernn_exporters.onnx_import.memory import bounded
from edgernn_exporters.onnx_import.shapes import inferred, shapes_in
from edgernn_exporters.onnx_import.tensors import check_tensors
from edgernn_exporters.onnx_import.walking import tensors_of


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.readline():
        request = json.loads(header)
        content = requests.read(request["bytes"])
        if hasattr(os, "fork"):
            answer = _forked(content, request["budget"], request["seconds"])
        else:
            answer = {**_answer(content, request["budget"]), "last": True}
        del content
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        if "last" in answer:
            return


def _forked(content: bytes, budget: int, seconds: int) -> dict[str, Any]:
    """Return the answer of a fork of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)  # other requests
            os.dup2(nothing, 1)  # other answers
            signal.alarm(seconds)
            with open(writer, "wb") as stream:
                stream.write(json.dumps(_answer(content, budget)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"late": True} if number == signal.SIGALRM else {"signal": number}
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        return {"failed": "it ends without an answer"}
    return found


def _answer(content: bytes, budget: int) -> dict[str, Any]:
    try:
        with bounded(CHECK_BYTES + 8 * len(content)):
            _check(content, budget)
    except ModelError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "reading it takes more memory than a sound file of its size needs"}
    except Exception as error:  # whatever the parser, the checker or shape inference raise
        return {"failed": f"{type(error).__name__}: {error}"}
    return {}


def _check(content: bytes, budget: int) -> None:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        if "alloc" in str(error):
            raise MemoryError from None
        raise ModelError("not an ONNX file, or cut off; export it or copy it again") from None
    check_operators(model)
    check_bodies(model)
    check_tensors(model, budget)
    graph = inferred(model)
    check_values(graph, budget)
    check_recurrent(model, shapes_in(graph))
    _check_onnx(model)


def _check_onnx(model: onnx.ModelProto) -> None:
    """Run ONNX's own checker; the model is of no use any more after it.

    Data in other files are not looked at here, and an output may leave its shape to inference.
    """
    for output in model.graph.output:
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.SetInParent()
    for tensor in tensors_of(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            del tensor.external_data[:]
            tensor.ClearField("data_location")
            tensor.dims[:] = [0]
    model.ir_version = min(model.ir_version, onnx.IR_VERSION)
    try:
        onnx.checker.check_model(model.SerializeToString())
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = first_line(error)
        raise ModelError(f"not a valid ONNX model: {reason}; export it again") from None


if __name__ == "__main__":
    main()
