"""`python -m person_reid COMMAND` is the command `person-reid COMMAND`, even
if the package is not installed.
"""

from person_reid.console.main import main

main()
