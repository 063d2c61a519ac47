"""`python -m serving`: the server by itself."""

import sys

from serving import main

sys.exit(main(sys.argv[1:]))
