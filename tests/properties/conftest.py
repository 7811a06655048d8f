"""Properties are neither timed, for machines differ, nor remembered, for the checkout may be read-only."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "untimed", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
