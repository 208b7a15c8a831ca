"""Ray reads this on import, and the tests of a live Medley ask its dashboard, which wants a token."""

import os

os.environ.setdefault("RAY_AUTH_MODE", "token")
