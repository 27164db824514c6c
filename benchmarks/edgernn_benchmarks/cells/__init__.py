"""What LSTM, GRU and plain RNN differ in, measured: ``edgernn bench --suite cells``.

`run_suite` measures the parts of a `Plan`, and keeps each result at once in a file that a later
call goes on with. `to_html` and `to_markdown` render that file.
"""

from edgernn_benchmarks.cells.findings import Finding, findings
from edgernn_benchmarks.cells.journal import Journal, read_journal
from edgernn_benchmarks.cells.plan import PARTS, SCENARIOS, Plan, Verbs, quick_plan
from edgernn_benchmarks.cells.report import page_of_cells, to_html, to_markdown
from edgernn_benchmarks.cells.suite import run_suite

__all__ = [
    "PARTS",
    "SCENARIOS",
    "Finding",
    "Journal",
    "Plan",
    "Verbs",
    "findings",
    "page_of_cells",
    "quick_plan",
    "read_journal",
    "run_suite",
    "to_html",
    "to_markdown",
]
