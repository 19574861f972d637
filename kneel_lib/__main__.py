"""`python -m kneel_lib`: the command line of `kneel_lib/cli.py`."""

import sys

from kneel_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
