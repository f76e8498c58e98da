"""A web application on a database of its own, asked without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app.main import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.config import Settings
    from tests.conftest import FakeClock


@pytest.fixture
def client(home_with_data: Settings, clock: FakeClock) -> Iterator[TestClient]:
    with TestClient(create_app(home_with_data, clock=clock)) as client:
        yield client
