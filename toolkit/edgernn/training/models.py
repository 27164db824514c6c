"""The networks that edgernn trains, by kind; a new one is a class and a line in `NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.errors import UsageError
from edgernn.training.config import ModelConfig
from edgernn.training.translation import TranslationModel

_RECURRENT: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_EXAMPLE_STEPS = 50
_LOWEST = -1e4  # below every hidden state, and a number in float16


class _Recurrent(nn.Module):
    """Hold dropout, recurrent layers and a linear layer, which all the networks here have.

    Attributes:
        config: Cell and sizes.
        dropout: On the recurrent layer's input and output.
        rnn: `torch.nn.LSTM`, `torch.nn.GRU` or `torch.nn.RNN`, batch first.
        head: Linear layer from the hidden state to the outputs.
    """

    takes_lengths = False  # whether exported files do
    takes_targets = False  # whether training gives them, to write from

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(dropout)
        self.rnn = _RECURRENT[config.cell](
            input_size=config.embedding_size or config.input_size,
            hidden_size=config.hidden_size,
            num_layers=config.layers,
            bidirectional=config.bidirectional,
            batch_first=True,
            dropout=dropout if config.layers > 1 else 0.0,
        )
        directions = 2 if config.bidirectional else 1
        self.head = nn.Linear(directions * config.hidden_size, config.output_size)

    def predict(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Return the outputs for a user's inputs, which need no targets."""
        outputs: Tensor = self(*inputs, **named)
        return outputs

    def _hidden(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the hidden states ``[B, T, D*H]``, with dropout before and after."""
        x = self.dropout(x)
        if lengths is None:
            hidden, _ = self.rnn(x)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            hidden, _ = self.rnn(packed)
            hidden, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
        dropped: Tensor = self.dropout(hidden)
        return dropped


class SequenceModel(_Recurrent):
    """Map features ``[B, T, F]`` to one output per time step ``[B, T, O]``."""

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the outputs of every time step, starting from zero states.

        Args:
            x: Features ``[B, T, F]``.
            lengths: Valid time steps of each row ``[B]``, at least 1. Given them, a bidirectional
                network starts its backward pass at each row's last valid step; a causal one does
                not need them. Outputs beyond a row's length mean nothing.

        Returns:
            Outputs ``[B, T, O]``.
        """
        outputs: Tensor = self.head(self._hidden(x, lengths if self.rnn.bidirectional else None))
        return outputs


class ForecastModel(SequenceModel):
    """Map the last 24 hours ``[B, T, 24 * F]`` to the next ``[B, T, 24 * F]``, at every hour.

    Covariates may follow the hours in the input, ``[B, T, 24 * F + C]``: numbers that are known of
    the present hour and not forecast. The recurrent layers see them.

    All layers see how far each hour is from the present one, and give how far the next hours are
    from those a day before; so a series whose level wanders looks the same at every level. A
    linear layer gives what is linear in the last 24 hours, the recurrent layers the rest.

    Source: the autoregressive part of Lai et al., "Modeling long- and short-term temporal patterns
    with deep neural networks", SIGIR 2018; the subtraction is NLinear's in Zeng et al., "Are
    transformers effective for time series forecasting?", AAAI 2023.

    Attributes:
        highway: Linear layer from the last hours to the next.
    """

    hours = 24

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        if config.input_size < config.output_size or config.output_size % self.hours:
            raise UsageError(
                f"a forecast network takes and gives {self.hours} hours of every variable, and "
                f"takes covariates behind them, not {config.input_size} and {config.output_size} "
                f"numbers"
            )
        _only_forward(config)
        self.highway = nn.Linear(config.output_size, config.output_size)
        for layer in (self.highway, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the next 24 hours ``[B, T, 24 * F]``, hour by hour."""
        size = self.config.output_size
        hours, covariates = x, None
        if self.config.input_size > size:
            hours, covariates = x[..., :size], x[..., size:]
        present = hours[..., -size // self.hours :].repeat(1, 1, self.hours)
        changes = hours - present
        seen = changes if covariates is None else torch.cat((changes, covariates), dim=2)
        following: Tensor = hours + super().forward(seen, lengths) + self.highway(changes)
        return following


class TextClassifier(_Recurrent):
    """Map symbols ``[B, T]`` to one output per row ``[B, O]``.

    The largest of each unit over the row's steps goes to the linear layer.

    Attributes:
        embedding: A vector for each symbol.
    """

    takes_lengths = True

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        self.embedding = nn.Embedding(config.input_size, config.embedding_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Compute the outputs ``[B, O]``.

        Args:
            x: Symbols ``[B, T]``.
            lengths: Valid symbols of each row ``[B]``, at least 1.
        """
        hidden = self._hidden(self.embedding(x), lengths)
        steps = torch.arange(x.shape[1], device=x.device)
        beyond = (steps >= lengths[:, None])[:, :, None]
        outputs: Tensor = self.head(hidden.masked_fill(beyond, _LOWEST).amax(dim=1))
        return outputs


class LanguageModel(_Recurrent):
    """Map symbols ``[B, T]`` to logits of the next symbol ``[B, T, O]`` at every step.

    Attributes:
        embedding: A vector for each symbol.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        _only_forward(config)
        self.embedding = nn.Embedding(config.input_size, config.embedding_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits ``[B, T, O]``; a causal network does not need the lengths."""
        outputs: Tensor = self.head(self._hidden(self.embedding(x), None))
        return outputs


def _only_forward(config: ModelConfig) -> None:
    if config.bidirectional:
        raise UsageError(
            f"a {config.kind} network says what comes next, which one that also reads backwards "
            f"has seen; leave bidirectional out"
        )


Model = SequenceModel | TextClassifier | LanguageModel | TranslationModel
NETWORKS: dict[str, Callable[[ModelConfig, float], Model]] = {
    "sequence": SequenceModel,
    "forecast": ForecastModel,
    "text": TextClassifier,
    "language": LanguageModel,
    "translation": TranslationModel,
}


def build_model(config: ModelConfig, *, dropout: float = 0.0) -> Model:
    """Make a network with random weights, drawn from PyTorch's global generator.

    Args:
        config: Kind, cell and sizes.
        dropout: Probability on the input and the output of every recurrent layer; in training
            mode only.

    Example:
        >>> import torch
        >>> model = build_model(ModelConfig("gru", input_size=4, hidden_size=8, output_size=3))
        >>> model(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 3])
    """
    return NETWORKS[config.kind](config, dropout)


def example_inputs(model: Model) -> tuple[Tensor, ...]:
    """Return inputs of one row that a network takes, to export it with."""
    config = model.config
    if not config.embedding_size:
        return (torch.zeros(1, _EXAMPLE_STEPS, config.input_size),)
    symbols = (torch.arange(_EXAMPLE_STEPS) % config.input_size)[None]
    return (symbols, torch.tensor([_EXAMPLE_STEPS])) if model.takes_lengths else (symbols,)
