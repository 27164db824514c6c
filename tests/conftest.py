"""Settings of all tests."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "edgernn",
    derandomize=True,  # the same cases in every run, here and in CI
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("edgernn")
