import pytest

from client.sources.names import camera_id, camera_ids, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam.local:554/stream1", "rtsp://cam.local:554/stream1"),
        ("rtsp://admin:hunter2@cam.local:554/stream1", "rtsp://***@cam.local:554/stream1"),
        ("rtsp://admin@cam/stream1", "rtsp://***@cam/stream1"),
        ("RTSP://admin:hunter2@cam/", "RTSP://***@cam/"),
        ("rtsp://admin:hunt@er2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hunt/er2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hu@nt/er2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hunt?er2#x@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:12/34@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hun%40ter2@[fe80::1]:554/s", "rtsp://***@[fe80::1]:554/s"),
        ("rtsp://:hunter2@cam/s", "rtsp://***@cam/s"),
        ("http://cam/live?channel=1&user=a&pwd=hunter2", "http://cam/live?channel=1&user=a&pwd=***"),
        ("http://cam/live?Password=hunter2&channel=1", "http://cam/live?Password=***&channel=1"),
        ("http://cam/x.m3u8?access_token=hunter2#t=1", "http://cam/x.m3u8?access_token=***#t=1"),
        ("http://cam/x?api_key=hunter2;apikey=hunter2", "http://cam/x?api_key=***;apikey=***"),
        ("http://cam/x?X-Amz-Signature=hunter2", "http://cam/x?X-Amz-Signature=***"),
        ("rtsp://cam/user=admin_password=hunter2_channel=1.sdp", "rtsp://cam/user=admin_password=***"),
        ("rtsp://cam/realmonitor?channel=1&subtype=0", "rtsp://cam/realmonitor?channel=1&subtype=0"),
        ("http://cam/x?mail=a@b", "http://cam/x?mail=a@b"),
        ("rtsp://cam/lobby@1", "rtsp://cam/lobby@1"),
        ("folder/a@b.mp4", "folder/a@b.mp4"),
        ("", ""),
        ("rtsp:/admin:hunter2@cam/s", "***@cam/s"),
        ("rtsp//admin:hunter2@cam/s", "***@cam/s"),
        ("admin:hunter2@cam/s", "***@cam/s"),
        (" rtsp://admin:hunter2@cam/s", "***@cam/s"),
        ("rtsp:/admin:hunt@er2@cam/s", "***@cam/s"),
    ],
)
def test_redact_hides_secrets_and_nothing_else(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0", "webcam-0"),
        ("/dev/video2", "video2"),
        ("media/vtest.avi", "vtest"),
        ("media/", "media"),
        ("media/*.jpg", "media"),
        ("rtsp://u:p@10.0.0.7:554/s", "10.0.0.7"),
        ("rtsp://u:p@[fe80::1]:554/s", "fe80-1"),
        ("https://example.org/a.mp4", "example.org"),
        ("synthetic", "synthetic-3"),
        ("synthetic:fps=5,seed=12", "synthetic-12"),
        ("a b<script>.mp4", "a-b-script"),
        ("...", "camera"),
        ("admin:hunter2@cam", "cam"),
        ("rtsp:/admin:hunter2@cam/s", "s"),
        ("x" * 300 + ".mp4", "x" * 64),
    ],
)
def test_camera_id_is_short_and_safe(spec: str, expected: str) -> None:
    assert camera_id(spec) == expected


def test_camera_ids_are_unique() -> None:
    assert camera_ids(["a.mp4", "b/a.mp4", "a-2.mp4", "0", "c/a.avi"]) == [
        "a",
        "a-2",
        "a-2-2",
        "webcam-0",
        "a-3",
    ]
    assert camera_ids([]) == []
