"""Make causal windows over time stream: what a window reads of earlier calls becomes a state.

A convolution that pads its past, a pooling, a shift by one step, a running sum: on a whole sequence
they need no memory, step by step they do. `with_caches` follows the time axis through an exported
graph, puts a cache in front of each of them, and says which node looks ahead where there is one.
"""

from edgernn_exporters.causal.caches import RULES, with_caches
from edgernn_exporters.causal.values import StepFormError

__all__ = ["RULES", "StepFormError", "with_caches"]
