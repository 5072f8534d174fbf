"""``python -m dataprophet.cli``."""

import sys

from dataprophet.cli import main

sys.exit(main())
