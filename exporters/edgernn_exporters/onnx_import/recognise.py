"""Put recurrent nodes back where a file holds the operators of their steps."""

from __future__ import annotations

import onnx

from edgernn_exporters.onnx_import.editing import Editor
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise_affine import Values
from edgernn_exporters.onnx_import.recognise_chains import chains
from edgernn_exporters.onnx_import.recognise_loops import replace_loops
from edgernn_exporters.onnx_import.recognise_write import Writer
from edgernn_exporters.onnx_nodes import is_standard


def recognise(model: onnx.ModelProto, notes: Notes) -> onnx.ModelProto:
    """Replace decomposed LSTM and GRU steps, unrolled or in a loop, by one node each layer.

    Steps with the same weights that follow each other become one node; so does a Scan or Loop
    whose body is one such step. What can be read in two ways, or is no such cell, stays as it is.

    Args:
        model: Of opset 13 or later, with constants as initializers; not changed.
        notes: Receives a sentence for each node put back, and for steps left as they are.

    Returns:
        The new model, or ``model`` itself if it holds no such cells.
    """
    values = Values(model)
    found = chains(values, notes)
    if not found and not any(is_standard(node, "Scan", "Loop") for node in model.graph.node):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    editor = Editor(changed)
    if found:
        Writer(editor, values, notes).write(found)
    if not replace_loops(editor, values, notes) and not found:
        return model
    editor.clean()
    return changed
