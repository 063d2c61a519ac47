"""Fake servers that the live tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.live.support import FakeServer, Versions


@pytest.fixture
def v1() -> Iterator[FakeServer]:
    with FakeServer(1) as server:
        yield server


@pytest.fixture
def v2() -> Iterator[FakeServer]:
    with FakeServer(2) as server:
        yield server


@pytest.fixture
def pair(v1: FakeServer, v2: FakeServer) -> Versions:
    return {"v1": [v1], "v2": [v2]}


@pytest.fixture(scope="module")
def relay() -> Iterator[FakeServer]:
    with FakeServer(0) as server:
        yield server
