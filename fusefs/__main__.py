"""`python -m fusefs`."""

from fusefs.cli import main

main()
