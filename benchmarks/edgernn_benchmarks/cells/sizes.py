"""How many weights recurrent layers have, and which width gives as many as another cell."""

from __future__ import annotations

from dataclasses import replace

from edgernn.training.config import ModelConfig

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def recurrent_parameters(config: ModelConfig) -> int:
    """Count the weights and biases of the recurrent layers, both biases of each gate.

    Example:
        >>> recurrent_parameters(ModelConfig("lstm", 40, 64, 10))
        27136
    """
    gates, hidden = GATES[config.cell], config.hidden_size
    directions = 2 if config.bidirectional else 1
    first = config.embedding_size or config.input_size
    inputs = [first, *[directions * hidden] * (config.layers - 1)]
    return sum(directions * gates * hidden * (width + hidden + 2) for width in inputs)


def equal_parameters(config: ModelConfig, cell: str) -> ModelConfig:
    """Return a network of another cell whose recurrent layers have as many weights.

    Args:
        config: The network to equal.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.

    Returns:
        The same with the other cell and the hidden size whose count comes nearest.

    Example:
        >>> equal_parameters(ModelConfig("lstm", 40, 64, 10), "gru").hidden_size
        76
    """
    wanted = recurrent_parameters(config)
    low = high = replace(config, cell=cell, hidden_size=1)
    while recurrent_parameters(high) < wanted:
        low, high = high, replace(high, hidden_size=high.hidden_size + 1)
    return min(low, high, key=lambda found: abs(recurrent_parameters(found) - wanted))
