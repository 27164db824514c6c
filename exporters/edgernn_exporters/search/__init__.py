"""Search for the precision of each layer, on a task's validation data."""

from edgernn_exporters.search.candidates import Candidate, Limits, Measured
from edgernn_exporters.search.judge import Judge
from edgernn_exporters.search.layers import require_precisions
from edgernn_exporters.search.result import SCHEMA, SearchResult
from edgernn_exporters.search.search import JOURNAL_SUFFIX, TRIALS, Cost, search
from edgernn_exporters.search.words import (
    COLUMNS,
    bytes_in_words,
    describe,
    drop_in_words,
    explain,
    in_words,
    notes,
)

__all__ = [
    "COLUMNS",
    "JOURNAL_SUFFIX",
    "SCHEMA",
    "TRIALS",
    "Candidate",
    "Cost",
    "Judge",
    "Limits",
    "Measured",
    "SearchResult",
    "bytes_in_words",
    "describe",
    "drop_in_words",
    "explain",
    "in_words",
    "notes",
    "require_precisions",
    "search",
]
