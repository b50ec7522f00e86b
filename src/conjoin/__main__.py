"""`python -m conjoin` is the command line; holds nothing else."""

from conjoin.apps.cli import main

main()
