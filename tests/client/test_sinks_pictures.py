"""Annotated videos and images."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from client.choose import Choice
from client.sinks import AnnotatedImages, AnnotatedVideo, Lost, QueuedSink
from client.sinks.drawing import file_stem
from client.sinks.video import fit
from tests.client.media import jpeg, picture, png
from tests.client.results import delivered, detections, dropped, frame

PERSON = ("person", 0, 0.87654, (0.25, 0.5, 0.75, 1.0))


def read_video(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    images: list[NDArray[np.uint8]] = []
    while True:
        done, image = capture.read()
        if not done:
            return images
        images.append(np.asarray(image, np.uint8))


# --- videos -----------------------------------------------------------------------------------------------


def test_a_video_holds_delivered_frames_with_boxes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "door.mp4"
    with AnnotatedVideo(path, 10, live=False) as sink:
        for number in range(5):
            image = picture(0, (320, 240))
            sink.write(
                delivered(frame(number, image_bgr=image), detections(PERSON) if number == 2 else detections())
            )
    images = read_video(path)
    assert [image.shape for image in images] == [(240, 320, 3)] * 5
    assert images[2].max() > 200  # the box
    assert max(images[i].max() for i in (0, 1, 3, 4)) < 40
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_video_keeps_the_cameras_time(tmp_path: Path) -> None:
    """Frames 2 and 3 are missing and frame 6 came early: the picture before stays, and the length is right."""
    times = {0: 0.0, 1: 0.1, 4: 0.4, 5: 0.5, 6: 0.51, 7: 0.7}
    with AnnotatedVideo(tmp_path / "a.mp4", 10, live=True) as sink:
        for number, seconds in times.items():
            sink.write(delivered(frame(number, captured_s=50 + seconds, image_bgr=picture(number))))
        sink.write(dropped(frame(8)))
    shown = [round(float(image.mean()) / 10) - 1 for image in read_video(tmp_path / "a.mp4")]
    assert shown == [0, 1, 1, 1, 4, 5, 6, 7]


def test_a_video_of_a_slow_camera_named_by_a_text_keeps_its_rate(tmp_path: Path) -> None:
    with (
        AnnotatedVideo(f"{tmp_path}/a.mp4", 0.1, live=False) as sink,
        AnnotatedImages(f"{tmp_path}/b") as images,
    ):
        for number in range(3):
            sink.write(delivered(frame(number, image_bgr=picture(number))))
            images.write(delivered(frame(number, image_bgr=picture(number))))
    assert len(read_video(tmp_path / "a.mp4")) == len(list((tmp_path / "b").iterdir())) == 3
    assert cv2.VideoCapture(f"{tmp_path}/a.mp4").get(cv2.CAP_PROP_FPS) == pytest.approx(0.1)


def test_a_video_by_ids_and_with_a_long_gap(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 2, live=False) as sink:
        for number in (3, 5, 10_000):
            sink.write(delivered(frame(number, jpeg=jpeg(picture(number)))))
    assert len(read_video(tmp_path / "a.mp4")) == 3 + 1 + 20  # 10 s of still picture at most


def test_a_video_takes_frames_of_other_sizes(tmp_path: Path) -> None:
    sizes = [(320, 240), (640, 480), (100, 400), (1, 1), (33, 17)]
    with AnnotatedVideo(tmp_path / "a.mp4", 10, live=False) as sink:
        for number, size_wh in enumerate(sizes):
            sink.write(delivered(frame(number, image_bgr=picture(10, size_wh)), detections(PERSON)))
    images = read_video(tmp_path / "a.mp4")
    assert [image.shape for image in images] == [(240, 320, 3)] * 5
    assert images[2][:, :100].max() < 20  # black beside a tall picture
    assert images[2][:, 150:170].mean() > 90


def test_fit_keeps_the_shape() -> None:
    wide = fit(picture(20, (400, 100)), (200, 200))
    assert wide.shape == (200, 200, 3)
    rows = np.flatnonzero(wide.max(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (75, 124)


def test_an_odd_size_and_no_frames_at_all(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "odd.mp4", 10, live=False) as sink:
        sink.write(delivered(frame(image_bgr=picture(0, (101, 77)))))
    assert len(read_video(tmp_path / "odd.mp4")) == 1
    with AnnotatedVideo(tmp_path / "none.mp4", 10, live=False) as sink:
        sink.write(dropped(frame()))
        with pytest.raises(Lost, match=r"^cannot decode frame 7$"):
            sink.write(delivered(frame(7, jpeg=b"broken")))
    assert not (tmp_path / "none.mp4").exists()


def test_a_video_of_a_camera_that_gives_more_than_it_claims_is_no_slow_motion(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 10, live=True) as sink:
        for number in range(120):  # 30 a second
            sink.write(delivered(frame(number, captured_s=50 + number / 30, image_bgr=picture(number % 20))))
    assert 40 <= len(read_video(tmp_path / "a.mp4")) <= 51


def test_a_video_on_a_full_disk_is_counted_as_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stands in for the disk."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    queued = QueuedSink(AnnotatedVideo(tmp_path / "a.mp4", 10, live=False), 30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        for number in range(20):
            queued.write(delivered(frame(number, image_bgr=noise)))
        queued.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (queued.written, queued.dropped) == (0, {"undelivered": 20})
    assert (queued.error or "").endswith("nothing was delivered: the file misses frames; is the disk full?")
    assert "FFmpeg" not in capfd.readouterr().err


# --- images -----------------------------------------------------------------------------------------------


def test_a_png_stays_one_and_opencv_says_nothing_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with AnnotatedImages(tmp_path) as sink:
        sink.write(delivered(frame(1, jpeg=png(picture(3)), name="a.png"), detections(PERSON)))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert capfd.readouterr() == ("", "")


def test_images_keep_their_names(tmp_path: Path) -> None:
    image = picture(0, (160, 120))
    with AnnotatedImages(tmp_path / "out") as sink:
        sink.write(delivered(frame(0, jpeg=jpeg(image), name="a/x.jpg"), detections(PERSON)))
        sink.write(delivered(frame(1, jpeg=png(image), name="a/x.png"), detections(PERSON)))
        sink.write(delivered(frame(2, jpeg=jpeg(image), name="b/x.jpg")))
        sink.write(delivered(frame(3, image_bgr=image, name="a/y.bmp")))
        sink.write(delivered(frame(4, image_bgr=image)))
        with pytest.raises(Lost, match=r"^cannot decode broken\.jpg$"):
            sink.write(delivered(frame(5, jpeg=b"broken", name="broken.jpg")))
        sink.write(dropped(frame(6, name="z.jpg")))
        sink.write(delivered(frame(7, jpeg=jpeg(image), name="a/x.jpg")))  # again, as with loop
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["door-000004.jpg", "x-2.jpg", "x.jpg", "x.png", "y.jpg"]
    assert cv2.imread(str(tmp_path / "out" / "x.png")).max() > 200  # type: ignore[union-attr]
    assert cv2.imread(str(tmp_path / "out" / "x-2.jpg")).max() < 40  # type: ignore[union-attr]


def test_images_of_several_sinks_do_not_hide_each_other(tmp_path: Path) -> None:
    """Two folders with files of the same names, and cameras whose names end alike."""
    image = picture(0, (16, 12))
    with AnnotatedImages(tmp_path) as one, AnnotatedImages(tmp_path) as other:
        for sink, folder in ((one, "a"), (other, "b"), (one, "a"), (other, "b")):
            sink.write(delivered(frame(0, jpeg=jpeg(image), name=f"{folder}/x.jpg")))
            sink.write(delivered(frame(0, f"{folder}/cam", image_bgr=image)))
    written = ["a%2Fcam-000000.jpg", "b%2Fcam-000000.jpg", "x-2.jpg", "x.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    with AnnotatedImages(tmp_path) as again:  # a later run
        again.write(delivered(frame(0, jpeg=jpeg(image), name="b/x.jpg")))
    assert sorted(path.name for path in tmp_path.iterdir()) == written


def test_images_never_write_over_the_file_that_they_came_from(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(original := jpeg(picture(0, (16, 12))))
    with AnnotatedImages(tmp_path) as sink:
        sink.write(delivered(frame(0, jpeg=original, name=str(tmp_path / "x.jpg"))))
    assert (tmp_path / "x.jpg").read_bytes() == original
    assert (tmp_path / "x-2.jpg").exists()


def test_images_never_write_over_a_file_that_is_none_of_theirs(tmp_path: Path) -> None:
    """Neither another source in the folder, nor what lies there by chance, in this run and in a later one."""
    image = picture(0, (16, 12))
    kept = {
        "x.jpg": jpeg(image),
        "X.png": png(image),
        "x.bmp": b"BM",
        "door-000003.jpg": b"",
        "y.png": b"any",
    }
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "x.jpeg").write_bytes(jpeg(image))
    for _run in range(2):
        with AnnotatedImages(tmp_path) as sink:
            for name in ("x.bmp", "x.jpeg", "x.jpg", "X.png"):
                sink.write(delivered(frame(0, image_bgr=image, name=str(tmp_path / name))))
            sink.write(delivered(frame(2, image_bgr=image, name="elsewhere/y.png")))
            sink.write(delivered(frame(3, image_bgr=image)))
        for name, data in kept.items():
            assert (tmp_path / name).read_bytes() == data
        made = {path.name for path in tmp_path.iterdir()} - kept.keys() - {"x.jpeg"}
        assert made == {"x-2.jpg", "x-3.jpg", "x-4.jpg", "X-2.png", "door-000003-2.jpg", "y-2.png"}


def test_a_later_runs_images_replace_an_earlier_ones(tmp_path: Path) -> None:
    for value in (1, 15):
        with AnnotatedImages(tmp_path) as sink:
            for number, name in enumerate(("a.jpg", "b.png", "")):
                sink.write(delivered(frame(number, image_bgr=picture(value), name=name)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.png", "door-000002.jpg"]
    for path in tmp_path.iterdir():
        assert cv2.imread(str(path)).mean() > 140  # type: ignore[union-attr]


def test_cameras_whose_names_differ_have_files_that_do() -> None:
    names = ["hall/1", "hall_1", "hall\\1", "hall%2F1", "hall 1", "Flur-ä"]
    assert len({file_stem(name) for name in names}) == len(names)
    assert [file_stem(name) for name in names[3:]] == ["hall%252F1", "hall 1", "Flur-ä"]
    assert all("/" not in file_stem(name) for name in names)


def test_images_keep_nothing_of_what_is_written(tmp_path: Path) -> None:
    image = picture(0, (16, 12))
    before = len(AnnotatedImages._taken)
    with AnnotatedImages(tmp_path) as sink:
        for number in range(5):
            sink.write(delivered(frame(number, image_bgr=image)))
        assert len(AnnotatedImages._taken) == before
        sink.write(delivered(frame(5, image_bgr=image, name="a.jpg")))
        assert len(AnnotatedImages._taken) == before + 1
    assert len(AnnotatedImages._taken) == before


def test_images_are_drawn_as_the_model_saw_them(tmp_path: Path) -> None:
    """A file with an Exif turn that was sent as it is must not be turned under its boxes."""
    with AnnotatedImages(tmp_path) as sink:
        sink.write(delivered(frame(jpeg=jpeg(picture(0, (160, 120)), orientation=6), name="a.jpg")))
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (120, 160, 3)  # type: ignore[union-attr]


def test_images_of_chosen_classes_at_most_so_often(tmp_path: Path) -> None:
    image, dog = picture(0, (160, 120)), ("dog", 5, 0.9, (0.0, 0.0, 0.5, 0.5))
    with AnnotatedImages(tmp_path, Choice(classes=("Dog", "2")), every_s=1.0) as sink:
        for number, (captured_s, found) in enumerate(
            [
                (0.0, PERSON),
                (0.1, dog),
                (0.5, dog),
                (1.2, dog),
                (9.0, PERSON),
                (9.1, ("car", 2, 0.9, (0, 0, 1, 1))),
            ]
        ):
            sink.write(
                delivered(frame(number, captured_s=100 + captured_s, image_bgr=image), detections(found))
            )
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["door-000001.jpg", "door-000003.jpg", "door-000005.jpg"]
