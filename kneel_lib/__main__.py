"""`python -m kneel_lib`: the command line of `kneel_lib/commands.py`, in a process that keeps the memory that it frees (`kneel_lib/memory.py`)."""

import sys

from kneel_lib import memory

if __name__ == "__main__":
    memory.start_again()
    from kneel_lib.commands import main
    sys.exit(main())
