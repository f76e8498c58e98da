"""The web application of tests/app, for what goes out of it and into it."""

from tests.app.conftest import client, run_for_real, trained, trainings

__all__ = ["client", "run_for_real", "trained", "trainings"]
