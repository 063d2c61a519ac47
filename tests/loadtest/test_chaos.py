from __future__ import annotations

from loadtest.chaos import HEADER, row, summarise
from loadtest.stream import Seen


def frames(*outcomes: str, start_s: float = 0.0) -> list[Seen]:
    return [
        Seen(start_s + index, outcome=outcome, age_s=0.01 * (index + 1))
        for index, outcome in enumerate(outcomes)
    ]


def test_only_the_faults_time_is_counted_and_recovery_is_after_it() -> None:
    first = frames("delivered", "errored", "dropped", "delivered", "errored", "delivered")
    second = frames(*["delivered"] * 6)
    outcome = summarise("x", [first, second], began_s=1.0, ended_s=4.0)
    assert (outcome.sent, outcome.delivered, outcome.dropped, outcome.errored) == (6, 4, 1, 1)
    assert outcome.adds_up
    assert outcome.untouched_errored == 0
    assert outcome.recovery_s == 0.0  # captured right at the end
    assert outcome.age_p50_ms == 35.0


def test_a_frame_without_a_result_is_lost_whenever_it_was() -> None:
    outcome = summarise("x", [frames("", "delivered", "delivered")], began_s=1.0, ended_s=2.0)
    assert outcome.lost == 1
    assert not outcome.adds_up
    assert row(outcome).endswith("NO: 1 lost")


def test_nothing_at_all_is_no_success_story() -> None:
    outcome = summarise("x", [[]], began_s=0.0, ended_s=1.0)
    assert not outcome.adds_up
    assert "nan" in row(outcome)


def test_the_table_lines_up() -> None:
    line = row(summarise("x", [frames("delivered")], began_s=0.0, ended_s=1.0))
    assert len(line) == len(HEADER.splitlines()[-1].removesuffix("  adds up")) + len("  yes")
