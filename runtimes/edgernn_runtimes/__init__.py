"""Adapters that run a model on a target, behind one `edgernn.sessions.Session` protocol.

Importing this package imports neither onnxruntime nor any other engine; each adapter imports
its own when a model is loaded on it.
"""

from edgernn_runtimes.targets import TARGETS, Probe, Target, load, probe

__all__ = ["TARGETS", "Probe", "Target", "load", "probe"]
