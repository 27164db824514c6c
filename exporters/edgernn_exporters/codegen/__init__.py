"""Generate C from ONNX: a plan and weights made here, kernels written by hand.

``compile`` writes a complete C project. The graph is lowered node by node (`ops`) to statements
over buffers, scratch memory is planned by lifetime, and ``NAME.h``, ``NAME.c`` and the kernels
they use are written out with what builds and tests them.
"""

from edgernn_exporters.codegen.compile import compile, emit

__all__ = ["compile", "emit"]
