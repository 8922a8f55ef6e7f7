"""`python -m bert_tutorial` is the command `bert-tutorial`."""

from .cli import main

main(prog_name="bert-tutorial")
