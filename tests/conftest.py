"""What all tests share."""

from typing import Any

from hypothesis import HealthCheck, settings

# The machines are shared and noisy: how long an example takes says nothing.
settings.register_profile("djdeploy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("djdeploy")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says at the end, in one line, what was not run for lack of a Docker engine."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no Docker engine" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"Not run: {len(skipped)} tests on the Docker target; for them: make docker-engine")
