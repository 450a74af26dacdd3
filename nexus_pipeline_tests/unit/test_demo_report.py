"""The demo's summary."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nexus_pipeline.demo import report as demo_report


def demo_report_of(days: int) -> dict[str, object]:
    return {
        "bars": 6225,
        "warm_up": 149,
        "no_movement": 3,
        "requests": 6073,
        "sent_now": 0,
        "sent_before": 6073,
        "sent": 6073,
        "shifted_weeks": 464,
        "completed": 6073,
        "dead_lettered": 0,
        "waiting": 0,
        "lost": 0,
        "duplicates": 0,
        "adds_up": True,
        "signals": {"BUY": 500, "SELL": 700, "HOLD": 4873},
        "strong": {"STRONG_BUY": 12, "STRONG_SELL": 34},
        "by_day": [
            {
                "day": f"2026-{1 + day // 28:02}-{1 + day % 28:02}",
                "BUY": day // 20,
                "SELL": 6,
                "HOLD": 20,
                "close": 1 + day / 100,
            }
            for day in range(days)
        ],
        "by_hour": [{"hour": hour, "BUY": hour, "SELL": 2 * hour, "HOLD": 7} for hour in range(24)],
        "seconds": 12.5,
        "per_second": 485.8,
        "latency_ms": {"p50": 5100.2, "p95": 9000.0, "p99": None},
        "runs": 1,
        "first_event": "2026-01-09T06:00:00+00:00",
        "last_event": "2026-11-20T22:00:00+00:00",
    }


def weeks(count: int) -> dict[str, object]:
    by_week = [{"week": f"{week}", "hours": 120, "BUY": week, "SELL": 2, "HOLD": 90, "min_rsi": 9.5, "max_rsi": 90.5}
               for week in range(count)]  # fmt: skip
    return {"hours": 120 * count, "decisions": 6073, "seconds": 9.9, "by_week": by_week}


def rendered(report: dict[str, object], width: int = 100, url: str | None = None) -> str:
    stream = io.StringIO()
    demo_report.render(report, Console(file=stream, width=width), url)
    return stream.getvalue()


def test_the_demo_reports_input_decisions_speed_and_that_the_counts_add_up() -> None:
    text = rendered(demo_report_of(260))
    for expected in (
        "6,225 EURUSD bars",
        "149 to warm up",
        "Nothing was added twice",
        "464 whole weeks",
        "4,873",
        "2026-01",
        "2026-10",
        "1 Dagster run in 12.5 s, 486 signals/s",
        "p50 5,100 ms, p95 9,000 ms",
        "6,073 sent = 6,073 completed + 0 dead-lettered + 0 waiting",
        "The counts add up: yes",
    ):
        assert expected in text
    assert "more BUY than SELL" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [110, 200])
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:65535"])
def test_the_demo_ends_on_one_screen_of_40_lines_and_110_columns(width: int, url: str | None) -> None:
    latency = {"p50": 123456.7, "p95": 234567.8, "p99": 299999.9}
    report = demo_report_of(366) | {"aggregates": weeks(53), "runs": 12, "seconds": 299.9, "latency_ms": latency}
    lines = rendered(report, width, url).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    text = "\n".join(lines)
    for expected in ("HOLD", "EURUSD close", "6,073 decisions in 6,360 hours", "The counts add up: yes", "Next: "):
        assert expected in text
    assert url is None or f"{url}/runs" in text


def test_the_demo_reports_counts_that_do_not_add_up() -> None:
    assert "The counts add up: NO" in rendered(demo_report_of(30) | {"adds_up": False, "lost": 1})


@pytest.mark.parametrize("days", [0, 1, 2, 40])
def test_the_demo_reports_any_number_of_days(days: int) -> None:
    empty = {"first_event": None, "last_event": None, "signals": {"BUY": 0, "SELL": 0, "HOLD": 0}, "per_second": 0.0}
    text = rendered(demo_report_of(days) | (empty if days == 0 else {}))
    assert ("EURUSD close" in text) == (days >= 2)
