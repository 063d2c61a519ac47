"""A stream inside an asyncio program: a web page that always tells what a camera sees now.

python examples/asyncio_app.py SOURCE [relay's host:port]      then: curl localhost:PORT; until Ctrl-C
"""

import asyncio
import sys
from collections import Counter
from contextlib import suppress

from aiohttp import web

from client import ClientError, DetectionStream, open_source

now: dict[str, object] = {"frames": 0}


async def watch(source: str, relay: str) -> None:
    """Keep `now` up to date until the source ends or this task is cancelled."""
    async with DetectionStream(await asyncio.to_thread(open_source, source), relay) as stream:
        async for result in stream:
            if result.detections is not None:
                now.update(
                    frames=stream.account.delivered,
                    age_ms=round(result.age_s * 1e3),
                    objects=Counter(result.detections.labels),
                )


async def tell(_request: web.Request) -> web.Response:
    """What is seen now."""
    return web.json_response(now)


async def main(source: str, relay: str = "127.0.0.1:8600") -> None:
    """Serve on a free port of this computer only, until the source ends."""
    app = web.Application()
    app.router.add_get("/", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    try:
        await watch(source, relay)
    finally:
        await runner.cleanup()


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    with suppress(KeyboardInterrupt):  # it has cancelled main, which closes the stream and the page
        asyncio.run(main(*sys.argv[1:3]))
except ClientError as error:
    sys.exit(str(error))
