"""A network that reads one sequence and writes another: encoder, attention, decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.errors import UsageError
from edgernn.tasks.base import END, LONGEST, PADDING, START
from edgernn.training.config import ModelConfig

_MASKED = -1e4


class Encoder(nn.Module):
    """Read symbols: their meanings in context, and where the decoder starts.

    Attributes:
        embedding: A vector for each symbol of the source.
        rnn: Bidirectional recurrent layers, batch first.
        bridge: From the last states to the decoder's first.
        key: From the meanings to what the decoder's state is compared with.
    """

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(config.input_size, config.embedding_size)
        self.rnn = nn.GRU(
            config.embedding_size, config.hidden_size, batch_first=True, bidirectional=True
        )
        self.bridge = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.key = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Read ``x [B, S]``.

        Returns:
            ``memory [B, S, 2H]``, ``keys [B, S, H]``, ``mask [B, S]`` to be added to the scores,
            and ``h [1, B, H]``, the decoder's first state.
        """
        vectors = self.dropout(self.embedding(x))
        packed = pack_padded_sequence(
            vectors, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, last = self.rnn(packed)
        hidden, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
        memory = self.dropout(hidden)
        places = torch.arange(x.shape[1], device=x.device)
        mask = (places >= lengths[:, None]).to(memory.dtype) * _MASKED
        first = torch.tanh(self.bridge(torch.cat((last[0], last[1]), dim=1)))[None]
        return {"memory": memory, "keys": self.key(memory), "mask": mask, "h": first}


class Decoder(nn.Module):
    """Write symbols, each from those before it and from what the encoder read.

    The state of each step is compared with the keys (Luong et al., "Effective approaches to
    attention-based neural machine translation", EMNLP 2015, "general" score).

    Attributes:
        embedding: A vector for each symbol of the target.
        rnn: Recurrent layer, batch first.
        mix: From state and attended meanings to the vector that is compared with the symbols'.
        bias: Of each symbol. Its weights are the embedding's.
    """

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(config.output_size, config.embedding_size)
        self.rnn = nn.GRU(config.embedding_size, config.hidden_size, batch_first=True)
        self.mix = nn.Linear(3 * config.hidden_size, config.embedding_size)
        self.bias = nn.Parameter(torch.zeros(config.output_size))

    def forward(
        self, token: Tensor, memory: Tensor, keys: Tensor, mask: Tensor, h: Tensor
    ) -> dict[str, Tensor]:
        """Write on after ``token [B, L]``; in a file, L is 1.

        Returns:
            ``logits [B, L, O]`` and the state after the last step, ``h [1, B, H]``.
        """
        hidden, last = self.rnn(self.dropout(self.embedding(token)), h)
        scores = hidden @ keys.transpose(1, 2) + mask[:, None]
        attended = scores.softmax(dim=2) @ memory
        mixed = self.dropout(torch.tanh(self.mix(torch.cat((hidden, attended), dim=2))))
        return {"logits": mixed @ self.embedding.weight.T + self.bias, "h": last}


class TranslationModel(nn.Module):
    """Map symbols of one language ``[B, S]`` to those of another.

    Attributes:
        config: Sizes.
        encoder: Reads.
        decoder: Writes.

    Raises:
        UsageError: The configuration asks for other layers than one bidirectional GRU that reads
            and one GRU that writes.
    """

    takes_lengths = True
    takes_targets = True

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        if (config.cell, config.layers, config.bidirectional) != ("gru", 1, True):
            raise UsageError(
                "a translation network reads with one bidirectional GRU and writes with another "
                "GRU; leave cell, layers and bidirectional as the task recommends"
            )
        self.config = config
        self.encoder = Encoder(config, dropout)
        self.decoder = Decoder(config, dropout)
        for table in (self.encoder.embedding, self.decoder.embedding):
            nn.init.normal_(table.weight, std=config.embedding_size**-0.5)

    def forward(self, x: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Compute the logits of every target symbol from the right ones before it.

        Args:
            x: Symbols ``[B, S]``.
            lengths: Valid symbols of each row ``[B]``.
            targets: What is to be written ``[B, L]``, ended by `END`, padded with `PADDING`.

        Returns:
            Logits ``[B, L, O]``.
        """
        read = self.encoder(x, lengths)
        before = torch.cat((torch.full_like(targets[:, :1], START), targets[:, :-1]), dim=1)
        logits: Tensor = self.decoder(before.clamp(min=0), **read)["logits"]
        return logits

    def decoder_example(self) -> tuple[Tensor, ...]:
        """Return arguments of one row for one step of the decoder, to export it with."""
        hidden, steps = self.config.hidden_size, 7
        shapes = ((1, steps, 2 * hidden), (1, steps, hidden), (1, steps), (1, 1, hidden))
        return torch.full((1, 1), START), *(torch.zeros(shape) for shape in shapes)

    def predict(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Write the likeliest symbol at each step, as far as the row's `END`.

        Returns:
            Symbols ``[B, L]``, padded with `PADDING`.
        """
        read = self.encoder(x, lengths)
        token = torch.full_like(x[:, :1], START)
        ended = torch.zeros_like(token, dtype=torch.bool)
        written: list[Tensor] = []
        while len(written) < LONGEST and not bool(ended.all()):
            step = self.decoder(token, **read)
            read["h"] = step["h"]
            token = step["logits"].argmax(dim=2)
            ended = ended | (token == END)
            written.append(torch.where(ended, PADDING, token))
        return torch.cat(written, dim=1)
