"""``python -m strandline`` is the command."""

from ._command import main

main()
