"""Found by every Python whose PYTHONPATH names this folder: models loaded there compute nothing, and take their time.

DATAPROPHET_SLEEP_MS is the time for each sample. Reading, decoding, encoding and batching are those of the real model.
"""

import os
import sys

if os.environ.get("DATAPROPHET_SLEEP_MS"):
    sys.path.insert(0, os.path.dirname(__file__))
    import sleeping_model

    sleeping_model.install(float(os.environ["DATAPROPHET_SLEEP_MS"]) / 1e3)
