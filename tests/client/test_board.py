"""What the board tells of a camera whose streams are several, or slow."""

import asyncio
from collections.abc import Callable

from client.relay.board import Board, CameraView
from client.relay.metrics import RelayMetrics
from client.report import outcome_text
from client.wire import relay_pb2 as pb


class Stream:
    """One that takes no questions."""

    def retry(self) -> None:
        """As the board wants it."""


def on_a_loop(check: Callable[[Board], None]) -> None:
    async def run() -> None:
        check(Board())

    asyncio.run(run())


def came(view: CameraView, stream: Stream, frame_id: int, now_s: float) -> None:
    view.arrived(stream, pb.Frame(camera_id="door", frame_id=frame_id), now_s)


def delivered(view: CameraView, now_s: float) -> None:
    result = pb.Result(camera_id="door")
    result.delivered.model_version = 1
    view.sent(result, now_s, 50.0)


def two_streams(board: Board) -> tuple[CameraView, Stream, Stream, float]:
    """Of the camera `door`; its view, and when it joined."""
    old, new = Stream(), Stream()
    view = board.join("door", old)
    board.join("door", new)
    return view, old, new, view._arrived_s


def test_two_streams_of_one_camera_id_have_frame_ids_of_their_own() -> None:
    def check(board: Board) -> None:
        view, old, new, now_s = two_streams(board)
        for number in range(5):
            came(view, old, 1000 + number, now_s)
            came(view, new, number, now_s)
            view.show(old, b"old", pb.Result(frame_id=1000 + number))
            view.show(new, b"new", pb.Result(frame_id=number))
        told = view.summary(now_s)
        assert told["dropped"] == {}
        assert told["streams"] == 2
        assert view.newest is not None
        assert (view.newest.image, view.newest.serial) == (b"new", 10)
        view.show(old, b"late", pb.Result(frame_id=1001))
        assert view.newest.image == b"new"
        came(view, old, 1007, now_s)  # 1005 and 1006 were dropped at the camera
        assert view.summary(now_s)["dropped"] == {"camera": 2}
        view.left(old, now_s, 0, broke=False)
        assert view.summary(now_s)["streams"] == 1
        view.show(old, b"gone", pb.Result(frame_id=2000))
        assert view.newest.image == b"new"

    on_a_loop(check)


def test_a_stream_that_streams_counts_more_than_one_whose_source_failed() -> None:
    def check(board: Board) -> None:
        view, old, new, now_s = two_streams(board)
        view.source_is(old, pb.Source(state="failed", problem="unplugged"), now_s)
        came(view, new, 0, now_s)
        assert (view.state(now_s), view.summary(now_s)["problem"]) == ("streaming", "")
        view.source_is(new, pb.Source(state="backing off", retry_ms=2000), now_s + 1)
        assert (view.state(now_s + 1), view.summary(now_s + 1)["retry_s"]) == ("backing off", 2.0)
        view.left(new, now_s + 2, 0, broke=False)
        assert (view.state(now_s + 2), view.summary(now_s + 2)["problem"]) == ("failed", "unplugged")
        view.left(old, now_s + 3, 0, broke=False)
        assert (view.state(now_s + 3), view.since_s(now_s + 3)) == ("failed", 3.0)
        board.join("door", new)
        assert view.state(view._arrived_s) == "streaming"

    on_a_loop(check)


def test_a_relays_counts_are_an_account() -> None:
    metrics = RelayMetrics()
    result = pb.Result(camera_id="door")
    result.delivered.model_version = 1
    for _ in range(3):
        metrics.received.inc()
        metrics.sent(result, "", 0.05)
    metrics.received.inc(by=4)
    metrics.sent(pb.Result(dropped=pb.Dropped(reason="expired")), "", None)
    metrics.sent(pb.Result(error=pb.Error(code=13)), "INTERNAL", None)
    metrics.lost(2)
    assert outcome_text(metrics.account) == (
        "7 captured = 3 delivered + 1 errored + 3 dropped (disconnected 2, expired 1)"
    )


def test_a_camera_that_gets_few_results_is_not_without() -> None:
    def check(board: Board) -> None:
        stream = Stream()
        view = board.join("door", stream)
        now_s = view._arrived_s
        for number in range(1200):  # 30 frames/s, and a result each 2.5 s
            now_s += 1 / 30
            came(view, stream, number, now_s)
            if number % 75 == 74:
                delivered(view, now_s)
        for _ in range(30 * 5):
            now_s += 1 / 30
            came(view, stream, number := number + 1, now_s)
        assert view.state(now_s) == "streaming"
        for _ in range(30 * 10):
            now_s += 1 / 30
            came(view, stream, number := number + 1, now_s)
        assert view.state(now_s) == "unanswered"

    on_a_loop(check)
