"""FastAPI's peer: the image is the body."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response


def create(detect: Callable[[bytes], Awaitable[list[list[float]]]]) -> FastAPI:
    """An app with `POST /detect`."""
    app = FastAPI()

    @app.post("/detect")
    async def answer(request: Request) -> Response:
        return Response(json.dumps(await detect(await request.body())), media_type="application/json")

    return app
