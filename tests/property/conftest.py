"""Hypothesis profiles: `fast` by default, the same examples in each run; `nightly` with HYPOTHESIS_PROFILE=nightly.

The fast profile is a gate, and must not fall for what was there before the change; to find that is the nightly's work,
which plays other lives each time: over a million inputs by the two machines together. More of the same examples in each
run of the gate would find nothing that they had not found the first time.
"""

import os

from hypothesis import HealthCheck, settings

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.filter_too_much]

settings.register_profile(
    "fast",
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=SLOW_IS_FINE,
)
settings.register_profile(
    "nightly", max_examples=6000, stateful_step_count=100, deadline=None, suppress_health_check=SLOW_IS_FINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
