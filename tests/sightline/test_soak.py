"""What the soak judges: growth and accounts; and one that is short."""

import os
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from client.report import outcome_text
from client.types import Account
from model.export import read_metadata
from sightline.bench import soak
from sightline.bench.soak import Sample, accounting, course, sample
from sightline.models import ServedModel


def samples(rss_mb: list[float], descriptors: int = 10, more: int = 0) -> list[Sample]:
    return [Sample(2.0 * i, rss, descriptors + more * i) for i, rss in enumerate(rss_mb)]


def test_memory_that_grows_and_memory_that_does_not() -> None:
    leak = course("leak", samples([100 + i for i in range(100)]))
    assert leak.slope_mb_h == pytest.approx(1800)
    assert leak.growth_mb == pytest.approx(74)
    assert not leak.steady
    warm = course("warm", samples([10.0 * i for i in range(20)] + [200 + i % 3 for i in range(80)]))
    assert warm.steady
    assert course("big", samples([1000 + 0.2 * i for i in range(100)])).steady  # 15 MB of 1000


def test_descriptors_that_grow() -> None:
    assert not course("leak", samples([100.0] * 100, more=1)).steady
    assert course("steady", samples([100.0] * 100)).steady


def test_a_soak_too_short_to_judge() -> None:
    with pytest.raises(ValueError, match="expected at least 8 seconds"):
        course("short", samples([1.0, 2.0]))


def test_a_sample_of_this_process() -> None:
    before = sample(os.getpid(), 0.0)
    with open(os.devnull):
        assert sample(os.getpid(), 0.0).descriptors == before.descriptors + 1
    assert 10 < before.rss_mb < 10_000


def test_no_sample_of_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        with pytest.raises(ProcessLookupError):
            sample(ended.pid, 0.0)


def test_accounts_that_add_up_and_that_do_not() -> None:
    account = Account(captured=10, delivered=6, errored=1)
    account.dropped["expired"] = 3
    relay = Counter({"received": 9, "pending": 0, "delivered": 6, "errored": 1, "dropped": 2})
    line = f"frames    {outcome_text(account)}"
    assert accounting(["rate 5", line], relay) == []
    assert accounting([], relay) == ["the cameras told no account of their frames"]
    account.errored = 0
    assert "9 delivered" not in accounting([f"frames    {outcome_text(account)}"], relay)[0]
    assert accounting([line], relay + Counter(received=1)) == ["relay: 10 received, 9 settled, 0 pending"]
    lost = accounting([line], relay - Counter(delivered=1) + Counter(dropped=1))
    assert lost == ["the relay delivered 5, the cameras got 6"]


@pytest.mark.alone
def test_a_short_soak(demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, but too short to tell a leak from what fills up first."""
    monkeypatch.setattr(soak, "SAMPLE_EVERY_S", 0.5)
    monkeypatch.setattr(soak, "CLIP_FRAMES", 60)
    monkeypatch.setattr(soak, "GROWTH_MB", 500.0)
    monkeypatch.setattr(soak, "DESCRIPTORS", 50)
    console = Console(file=StringIO(), width=200)
    model = ServedModel(demo_model, 1, read_metadata(demo_model / "1"))
    well = soak.run(model, tmp_path / "logs", seconds=6.0, cameras=3, console=console)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    rows = {words[0]: words for line in said.splitlines() if (words := line.split())}
    assert well, said
    for process in ("server", "relay", "cameras"):
        assert float(rows[process][1]) > 20, said  # MB
        assert int(rows[process][4]) > 5, said  # descriptors
        assert rows[process][-1] == "steady", said
    captured, delivered = int(rows["frames"][1]), int(rows["frames"][4])
    assert captured > delivered > 10, said  # more than can be inferred
    assert "every frame is accounted for" in said
