import os

from hypothesis import settings

# More examples where nobody waits for them. No deadline: a machine may be busy.
_patient = os.environ.get("CI") or os.environ.get("REQUIRE_ALL") == "1"
settings.register_profile("share_kernel", deadline=None, max_examples=200 if _patient else 50)
settings.load_profile("share_kernel")
