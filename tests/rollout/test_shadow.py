"""The relay's shadow comparison: what it costs cameras, what it counts, and what its gate answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from client.predict import Prediction
from client.relay.config import RelayConfig
from client.security import Security
from loadtest.wrong_model import WrongModel, encode, forward
from sightline.rollout.camera import CountedCamera
from tests.client.fakes import NumberSource, RelayThread
from tests.rollout.fakes import Scene, TwoVersions

LIMIT_S = 60.0  # to see what must come; on a busy machine
LIMITS = "agreement=0.97&class_agreement=0.85&mean_iou=0.9&score_drift=0.05&min_frames=20"


@pytest.fixture
def server() -> Iterator[TwoVersions]:
    with TwoVersions(Scene(1), Scene(2)) as running:
        yield running


@pytest.fixture
def relay(server: TwoVersions) -> Iterator[RelayThread]:
    with RelayThread(server.target, http_port=0, shadow_percent=100, shadow_pairs=4) as running:
        yield running
    running.assert_balanced()


def ask(relay: RelayThread, path: str, body: object = None, host: str = "") -> tuple[int, Any]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{relay.relay.http_port}{path}", data)
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def film(relay: RelayThread, until: Callable[[], bool], fps: float = 50.0, **more: Any) -> CountedCamera:
    """A camera that streams until something is so."""
    source = NumberSource(None, live=True, interval_s=1 / fps)
    with CountedCamera(source, relay.target, Security(), **more) as camera:
        end_s = time.monotonic() + LIMIT_S
        while not until():
            assert time.monotonic() < end_s
            time.sleep(0.02)
    return camera


def answers(relay: RelayThread, code: int, path: str, body: object = None) -> Callable[[], bool]:
    """Whether the gate says so by now: how many frames that takes depends on how they spread over the seconds."""
    return lambda: ask(relay, path, body)[0] == code


def compared(relay: RelayThread, count: int) -> Callable[[], bool]:
    return lambda: relay.count("sightline_shadow_frames_total", outcome="compared") >= count


def test_cameras_get_the_stable_versions_answers_only(relay: RelayThread, server: TwoVersions) -> None:
    camera = film(relay, compared(relay, 30))
    assert set(camera.versions) == {1}
    assert camera.account.errored == 0
    status, report = ask(relay, "/v1/shadow")
    assert status == 200
    assert (report["stable_version"], report["candidate_version"]) == (1, 2)
    assert report["frames"] >= 30
    assert report["agreement"] == 1.0
    assert report["mean_iou"] > 0.9
    assert abs(report["score_drift"]) < 0.01
    assert report["verdict"] == "wait"  # no limits, no verdict
    # Two of the scene's 16 objects have scores below 0.4 in both versions.
    assert relay.count("sightline_shadow_objects_total", relation="same") == 14 * relay.count(
        "sightline_shadow_frames_total", outcome="compared"
    )


def test_the_gate_waits_and_passes(relay: RelayThread) -> None:
    status, found = ask(relay, f"/v1/shadow/gate?{LIMITS}")
    assert (status, found["verdict"]) == (425, "wait")
    assert "0 of 20 frames" in found["reason"]
    film(relay, answers(relay, 200, f"/v1/shadow/gate?{LIMITS}"))
    status, found = ask(relay, f"/v1/shadow/gate?{LIMITS}")
    assert (status, found["verdict"]) == (200, "pass"), found
    assert found["frames"] >= 20


def test_the_gate_fails(relay: RelayThread, server: TwoVersions) -> None:
    server.candidate = lambda request: encode(Prediction("yolov8", 2, [], [], [], []))
    film(relay, answers(relay, 409, f"/v1/shadow/gate?{LIMITS}"))
    status, found = ask(relay, f"/v1/shadow/gate?{LIMITS}")
    assert (status, found["verdict"]) == (409, "fail")
    assert "missed" in found["reason"]


def test_flaggers_webhooks_ask_the_same(relay: RelayThread) -> None:
    limits = dict(part.split("=") for part in LIMITS.split("&"))
    sent = {"name": "tf-serving", "namespace": "object-detection", "phase": "Progressing", "checksum": "1"}
    assert ask(relay, "/v1/shadow/gate", {**sent, "metadata": limits})[0] == 425
    assert ask(relay, "/v1/shadow/gate", {**sent, "metadata": {**limits, "expect": "fail"}})[0] == 425
    film(relay, answers(relay, 200, "/v1/shadow/gate", {**sent, "metadata": limits}))
    # A rollback webhook goes back on 200, so a good candidate must not be 200.
    assert ask(relay, "/v1/shadow/gate", {**sent, "metadata": {**limits, "expect": "fail"}})[0] == 425
    strict = {**limits, "mean_iou": "0.999999", "expect": "fail"}
    film(relay, answers(relay, 200, "/v1/shadow/gate", {**sent, "metadata": strict}))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "expected a limit"),
        ("min_frames=3", "expected a limit"),
        ("agreement=1.5", "expected 0 to 1"),
        ("agreement=nan", "expected a number"),
        ("agreement=x", "expected a number"),
        ("agreement=0.9&min_frames=0", "expected 1 or more"),
        ("agreement=0.9&confidence=1", "0.5 to less than 1"),
        ("agreement=0.9&window_s=0", "window_s"),
        ("agreement=0.9&window_s=1e9", "window_s"),
        ("agreement=0.9&expect=maybe", "expected pass or fail"),
        ("nonsense=1", "expected one of agreement"),
    ],
)
def test_wrong_limits_are_told(relay: RelayThread, query: str, words: str) -> None:
    status, found = ask(relay, f"/v1/shadow/gate?{query}")
    assert status == 400
    assert words in found["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"metadata": 3}', b"{}", b"[" * 10_000])
def test_wrong_webhooks_are_told(relay: RelayThread, body: bytes) -> None:
    status, found = ask(relay, "/v1/shadow/gate", body)
    assert status == 400
    assert "metadata" in found["error"]


def test_a_gate_may_be_asked_under_any_name_but_pictures_may_not(relay: RelayThread) -> None:
    host = "object-detection-client.object-detection:8601"
    assert ask(relay, f"/v1/shadow/gate?{LIMITS}", host=host)[0] == 425
    assert ask(relay, "/v1/shadow/pairs", host=host)[0] == 403


def test_a_header_that_is_not_routed_is_no_agreement(server: TwoVersions) -> None:
    """Without a mesh the header reaches the same version: that must not look like a perfect candidate."""
    server.candidate = Scene(1)
    with RelayThread(server.target, http_port=0, shadow_percent=100) as relay:
        film(relay, lambda: relay.count("sightline_shadow_frames_total", reason="SAME_VERSION") >= 1)
        status, found = ask(relay, f"/v1/shadow/gate?{LIMITS}")
        assert (status, found["frames"]) == (425, 0)
        assert "with and without the header" in found["reason"]


def test_a_slow_candidate_costs_cameras_nothing(relay: RelayThread, server: TwoVersions) -> None:
    server.shadow_delay_s = 0.5
    camera = film(relay, compared(relay, 4), max_age_s=0.2)
    assert server.most_shadows <= 2
    assert relay.count("sightline_shadow_frames_total", outcome="skipped", reason="busy") > 20
    assert camera.account.dropped.total() <= 0.05 * camera.account.captured
    assert ask(relay, "/v1/shadow")[1]["latency_ratio"] > 3


def test_under_load_shadows_go_first(server: TwoVersions) -> None:
    server.delay_s = 0.05
    with RelayThread(server.target, http_port=0, shadow_percent=100, in_flight=1) as relay:
        film(relay, lambda: relay.count("sightline_relay_frames_total", outcome="delivered") > 60, fps=100)
        skipped = relay.count("sightline_shadow_frames_total", outcome="skipped", reason="load")
        assert skipped > 0.8 * relay.count("sightline_relay_frames_total", outcome="delivered")


def test_a_failing_candidate_is_counted_and_told(relay: RelayThread, server: TwoVersions) -> None:
    server.shadow_fails = grpc.StatusCode.UNAVAILABLE
    camera = film(relay, lambda: server.shadows > 20)
    assert camera.account.errored == 0
    assert relay.count("sightline_shadow_frames_total", outcome="failed", reason="UNAVAILABLE") >= 20
    assert "UNAVAILABLE" in ask(relay, f"/v1/shadow/gate?{LIMITS}")[1]["reason"]


def test_made_up_labels_do_not_grow_the_metrics(relay: RelayThread, server: TwoVersions) -> None:
    def babel(request: bytes) -> bytes:
        server.shadows += 1
        count = 50
        labels = [f"thing {server.shadows * count + i}" for i in range(count)]
        return encode(
            Prediction("yolov8", 2, [0.1, 0.1, 0.2, 0.2] * count, [0.9] * count, [0] * count, labels)
        )

    server.candidate = babel
    film(relay, compared(relay, 20))
    labels = {
        sample.labels["label"]
        for metric in relay.relay.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "sightline_shadow_objects_total"
    }
    assert len(labels) <= 101
    assert "other" in labels


def test_a_share_is_sampled_and_a_pinned_stream_is_not(server: TwoVersions) -> None:
    with RelayThread(server.target, http_port=0, shadow_percent=20) as relay:
        film(relay, lambda: relay.count("sightline_relay_frames_total", outcome="delivered") > 250, fps=120)
        assert 0.1 < server.shadows / relay.count("sightline_relay_frames_total", outcome="delivered") < 0.32


def test_the_worst_pictures_are_kept_when_asked_for(server: TwoVersions) -> None:
    server.candidate = Scene(2, worse=0.3)
    with RelayThread(server.target, http_port=0, shadow_percent=100) as relay:
        film(relay, compared(relay, 20))
        assert ask(relay, "/v1/shadow/pairs")[1]["pairs"] == []  # nobody asked
    with RelayThread(server.target, http_port=0, shadow_percent=100, shadow_pairs=2) as relay:
        for name in "abc":
            source = NumberSource(None, live=True, interval_s=0.02, camera_id=name)
            with CountedCamera(source, relay.target, Security()):
                end_s = time.monotonic() + LIMIT_S
                before = relay.count("sightline_shadow_frames_total", outcome="compared")
                while not compared(relay, int(before) + 20)():
                    assert time.monotonic() < end_s
                    time.sleep(0.02)
        found = ask(relay, "/v1/shadow/pairs")[1]["pairs"]
        assert len(found) == 2  # at most one of each camera in ten seconds, and no more than asked for
        assert len({pair["camera"] for pair in found}) == 2
        wrong = [sum(n for _, n in pair["missed"]) for pair in found]
        assert wrong[0] >= wrong[1] > 0
        picture = f"http://127.0.0.1:{relay.relay.http_port}/v1/shadow/pairs/{found[0]['number']}"
        with urllib.request.urlopen(picture) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert answer.read().startswith(b"\xff\xd8")
        with urllib.request.urlopen(picture.rpartition("/")[0] + "/99999", timeout=10) as answer:
            assert (answer.status, answer.read()) == (204, b"")


def test_a_rollout_the_other_way_begins_anew(relay: RelayThread, server: TwoVersions) -> None:
    """The stable version is the candidate now: nothing that was compared before counts, and no picture stays."""
    server.candidate = Scene(2, worse=0.3)
    film(relay, compared(relay, 20))
    (before,) = {pair["number"] for pair in ask(relay, "/v1/shadow/pairs")[1]["pairs"]}
    server.stable, server.candidate = Scene(2), Scene(1, worse=0.3)
    film(relay, lambda: ask(relay, "/v1/shadow")[1]["stable_version"] == 2)
    film(relay, compared(relay, int(relay.count("sightline_shadow_frames_total", outcome="compared")) + 20))
    report = ask(relay, "/v1/shadow")[1]
    assert (report["stable_version"], report["candidate_version"]) == (2, 1)
    assert report["missed"]
    assert not report["extra"]
    pairs = ask(relay, "/v1/shadow/pairs")[1]["pairs"]
    assert {pair["stable"]["version"] for pair in pairs} == {2}
    assert min(pair["number"] for pair in pairs) > before


def test_a_candidate_that_has_all_frames_is_looked_for_now_and_then(
    relay: RelayThread, server: TwoVersions
) -> None:
    film(relay, compared(relay, 5))
    server.stable = Scene(2)
    film(relay, lambda: relay.count("sightline_shadow_frames_total", reason="candidate") >= 50)
    shadows = server.shadows
    film(relay, lambda: server.shadows > shadows)  # it might be another one by now
    assert ask(relay, "/v1/shadow?window_s=5")[1]["candidate_version"] == 2
    assert relay.count("sightline_shadow_frames_total", outcome="failed") == 0


def test_a_relay_that_compares_nothing_says_so(server: TwoVersions) -> None:
    with RelayThread(server.target, http_port=0) as relay:
        assert ask(relay, "/v1/shadow") == (200, ask(relay, "/v1/shadow")[1])
        assert ask(relay, "/v1/shadow")[1]["enabled"] is False
        status, found = ask(relay, f"/v1/shadow/gate?{LIMITS}")
        assert status == 404
        assert "--shadow-percent" in found["error"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shadow_percent": 101}, "--shadow-percent"),
        ({"shadow_percent": -1}, "--shadow-percent"),
        ({"shadow_pairs": 33}, "--shadow-pairs"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RelayConfig(**options)


def test_without_scipy_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['scipy'] = None; from sightline.cli import main; sys.argv = ['sightline', 'relay', "
        "'--listen', '127.0.0.1:0', '--http-port', '0', '--shadow-percent', '5']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "sightline: scipy is not installed: in Sightline's folder, pip install '.[rollout]'"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("permuted", "agreement"),
        ("shifted", "mean_iou"),
        ("blind", "agreement"),
        ("halved", "score_drift"),
    ],
)
def test_what_is_wrong_is_named(relay: RelayThread, server: TwoVersions, fault: str, name: str) -> None:
    with WrongModel(Scene(2), fault=fault) as model:
        server.candidate = forward(f"127.0.0.1:{model.port}")

        def failed() -> set[str]:
            checks = ask(relay, f"/v1/shadow?{LIMITS}")[1]["checks"]
            return {check["name"] for check in checks if check["verdict"] == "fail"}

        film(relay, lambda: name in failed())
