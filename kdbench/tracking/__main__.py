"""`python -m kdbench.tracking`: the writer process."""

from kdbench.tracking.writer import main

main()
