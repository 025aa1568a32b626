"""Run the command `person-reid`, installed or not: `python -m person_reid COMMAND`."""

from person_reid.console.main import main

main()
