"""Run the command line as ``python -m edgernn``."""

from edgernn.cli import main

main()
