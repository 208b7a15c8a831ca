"""The environment of all tests."""

import os
from pathlib import Path

# Ray reads this on import, and the tests of a live Medley ask its dashboard, which wants a token.
os.environ.setdefault("RAY_AUTH_MODE", "token")
# Where `make test` pulls the starter's weights to.
os.environ.setdefault("MEDLEY_WEIGHTS", str(Path(__file__).parent.parent / ".weights"))
