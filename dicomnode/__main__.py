"""`python -m dicomnode` is the command `dicomnode`."""

import sys

from dicomnode.cli import main

if __name__ == "__main__":
    sys.exit(main())
