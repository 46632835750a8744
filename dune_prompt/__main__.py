"""`python -m dune_prompt` is the command line `dune-prompt`."""

from dune_prompt.cli import main

main()
