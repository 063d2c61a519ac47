"""The shadow comparison over HTTP: a report, a gate for Argo Rollouts, Flagger and `sightline rollout`, and pictures.

GET  /v1/shadow             the report; with limits, such as ?agreement=0.97&window_s=60, their verdict too
GET  /v1/shadow/gate        the same, and its status: 200 pass, 425 wait, 409 fail
POST /v1/shadow/gate        the same from Flagger, whose webhooks send the limits as `metadata`; with
                            "expect": "fail" there, 200 means fail, which is what a rollback webhook asks
GET  /v1/shadow/pairs       the worst disagreements (no pictures, where the page is not offered)
GET  /v1/shadow/pairs/N     one of their pictures; 204 where it is not kept any more
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from client.colours import PALETTE
from client.relay.live import number
from client.relay.shadow_evidence import FAIL, PASS, WAIT
from client.wire import relay_pb2 as pb

if TYPE_CHECKING:  # these need the extra `rollout`
    from client.relay.shadow import Shadow
    from client.relay.shadow_pairs import Pair

REPORT, GATE, PAIRS = "/v1/shadow", "/v1/shadow/gate", "/v1/shadow/pairs"
STATUS = {PASS: 200, WAIT: 425, FAIL: 409}
OFF = {"enabled": False, "reason": "the relay compares nothing: start it with --shadow-percent"}
MAX_BODY_BYTES = 64 * 1024


class ShadowHttp:
    """The handlers. `shadow` None: nothing is compared here, and they say so."""

    def __init__(self, shadow: Shadow | None) -> None:
        self._shadow = shadow

    def add_to(self, router: web.UrlDispatcher, *, pictures: bool) -> None:
        """Offer the paths; `pictures`: those that show what cameras see, too."""
        router.add_get(REPORT, self._report)
        router.add_get(GATE, self._gate)
        router.add_post(GATE, self._webhook)
        if pictures:
            router.add_get(PAIRS, self._pairs)
            router.add_get(PAIRS + r"/{number:\d{1,9}}", self._picture)

    async def _report(self, request: web.Request) -> web.Response:
        return web.json_response(self._judged(dict(request.query), must=False))

    async def _gate(self, request: web.Request) -> web.Response:
        return self._answer(dict(request.query))

    async def _webhook(self, request: web.Request) -> web.Response:
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
        try:
            sent = json.loads(await request.read())
            metadata = sent["metadata"]
            asked = {str(key): str(value) for key, value in metadata.items()}
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise web.HTTPBadRequest(text="expected JSON with the limits in `metadata`") from None
        return self._answer(asked)

    def _answer(self, asked: dict[str, str]) -> web.Response:
        expect = asked.pop("expect", PASS)
        if expect not in (PASS, FAIL):
            raise web.HTTPBadRequest(text=f"expect: expected {PASS} or {FAIL}, got {expect!r}")
        found = self._judged(asked, must=True)
        status = STATUS[found["verdict"]]
        if expect == FAIL:
            status = 200 if found["verdict"] == FAIL else STATUS[WAIT]
        return web.json_response(found, status=status)

    def _judged(self, asked: dict[str, str], *, must: bool) -> dict[str, Any]:
        """The report and the verdict. Raises 400 for wrong limits, 404 for a gate where nothing is compared."""
        if self._shadow is None:
            if must:
                raise web.HTTPNotFound(text=str(OFF["reason"]))
            return OFF
        try:
            return self._shadow.report(asked, must=must)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None

    async def _pairs(self, _request: web.Request) -> web.Response:
        pairs = self._shadow.pairs.all() if self._shadow is not None else []
        palette = [f"#{colour:06x}" for colour in PALETTE]
        return web.json_response({"palette": palette, "pairs": [_described(pair) for pair in pairs]})

    async def _picture(self, request: web.Request) -> web.Response:
        pair = self._shadow.pairs.get(int(request.match_info["number"])) if self._shadow is not None else None
        if pair is None:
            # A worse one has taken its place since the page was told. No error: a browser would report it as one.
            return web.Response(status=204)
        kind = "image/png" if pair.image.startswith(b"\x89PNG") else "image/jpeg"
        return web.Response(body=pair.image, content_type=kind)


def _described(pair: Pair) -> dict[str, Any]:
    found = pair.difference
    return {
        "number": pair.number,
        "camera": pair.camera_id,
        "stable": _side(pair.stable),
        "candidate": _side(pair.candidate),
        "flips": [[a, b, n] for (a, b), n in found.flips.most_common()],
        "missed": [[label, n] for (label, _), n in found.missed.most_common()],
        "extra": [[label, n] for (label, _), n in found.extra.most_common()],
        "mean_iou": round(found.iou / found.pairs, 3) if found.pairs else None,
        "score_drift": round(found.drift / found.pairs, 3) if found.pairs else None,
    }


def _side(found: pb.Detections) -> dict[str, Any]:
    return {
        "version": found.model_version,
        "boxes": [number(value) for value in found.boxes],
        "scores": [number(value) for value in found.scores],
        "class_ids": list(found.class_ids),
        "labels": list(found.labels),
    }
