"""The age that is read from pixels, with a real stream from a camera process and a model server that is slow."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from client import DetectionStream, SourceOptions, StreamConfig, open_source
from client.sources.images import decode
from model.street import read_stamp
from sightline.bench import age
from sightline.bench.mjpeg import part
from tests.client.fakes import FakeModelServer, RelayThread, response_of


@pytest.fixture
def slow() -> Iterator[FakeModelServer]:
    with FakeModelServer(latency_s=0.05, threads=1, respond=lambda _: response_of(0)) as server:
        yield server


def test_ours_stays_fresh_where_the_loop_lags(slow: FakeModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "SETTLE_S", 1.0)
    with RelayThread(slow.target) as relay, age.camera(60) as url:
        fresh = list(age.ours(url, relay.target, 1.5))
    with age.camera(60) as url:
        stale = list(age.naive(url, slow.target, 1.5))
    assert len(fresh) >= 3
    assert 0.05 < max(fresh) < 0.8
    assert stale[-1] > 1.0  # at most 20 of 60 frames a second: 0.7 s older each second
    assert stale[-1] > stale[0] + 0.5


def test_the_age_that_is_told_is_the_true_one_but_for_the_cameras_own_work(slow: FakeModelServer) -> None:
    untold_s = []
    with RelayThread(slow.target) as relay, age.camera(10) as url:
        source = open_source(url, SourceOptions())
        with DetectionStream(source, relay.target, StreamConfig(max_age_s=5)) as stream:
            for result in stream:
                if result.frame.image_bgr is not None:
                    untold_s.append(age.true_age_s(result.frame.image_bgr) - result.age_s)
                    assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=0.1)
                    assert result.stages_ms["decode"] > 0
                if len(untold_s) == 10:
                    break
    assert -0.001 < min(untold_s) < 0.05  # two clocks read one after the other; drawing, encoding, sending


def test_a_part_of_the_stream_is_a_stamped_jpeg() -> None:
    picture = np.full((360, 640, 3), 90, np.uint8)
    data = part(picture, 7)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
    assert int(head.rpartition(b" ")[2]) == len(rest) - 2
    shown = decode(rest[:-2])
    assert shown is not None
    stamp = read_stamp(shown)
    assert stamp is not None
    assert stamp.frame_id == 7
    assert 0 <= age.true_age_s(shown) < 5
    with pytest.raises(RuntimeError, match="expected a stamp"):
        age.true_age_s(cv2.blur(shown, (99, 99)).astype(np.uint8))


def test_rows_and_their_table() -> None:
    one = age.row("overload", 100.0, "Sightline", [0.1] * 99 + [0.5], 10.0)
    assert [one.fps, one.p50_ms, one.worst_ms] == pytest.approx([10, 100, 500])
    none = age.row("overload", 100.0, "Sightline", [], 10.0)
    assert none.fps == 0
    assert age.table([one, none]).row_count == 2
