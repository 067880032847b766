"""``python -m bench.speed``."""

import sys

from bench.speed.command import main

sys.exit(main())
