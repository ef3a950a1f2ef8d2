"""`python -m headrace`: the same as the command `headrace`."""

import sys

from .repl.__main__ import main

sys.exit(main())
