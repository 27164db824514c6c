"""Roll Python loops over time, which tracing unrolls, back into recurrent operators and scans.

The way of a module: `reading` traces it at two short lengths, `finding` recognises the repeated
steps in each trace, `lengths` keeps what both agree on with the length left open, `planning` cuts
each loop into operators, whole-sequence operations and scans, `running` is the module that is
exported (docs/decisions/0015).
"""
