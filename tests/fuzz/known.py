"""What exists: ids and secrets that `run.py` seeded, and ids that answers named since.

The variable FUZZ_KNOWN names the file of `run.py`.
"""

import json
import os
import pathlib

KNOWN = json.loads(pathlib.Path(os.environ["FUZZ_KNOWN"]).read_text())
