"""Properties are neither timed, for machines differ, nor remembered, for the checkout may be read-only."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None, database=None)
settings.load_profile("untimed")
