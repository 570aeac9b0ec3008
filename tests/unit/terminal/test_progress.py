import io
import logging

import pytest

from nlae.terminal import progress


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", progress.Console(stderr=True, force_terminal=False))


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (75, "1:15"), (3675.4, "1:01:15"), (-3, "0:00")])
def test_seconds_are_written_as_a_clock(seconds: float, text: str) -> None:
    assert progress.format_seconds(seconds) == text


def test_without_a_terminal_a_line_now_and_then_with_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="nlae.terminal.progress")
    with progress.Bar("extract", 4, line_every=0.0) as bar:
        bar.advance()
        bar.advance(2, note="loss 0.5")
    first, second, last = caplog.messages
    assert first.startswith("extract: 1/4 in 0:00, 0:00 left")
    assert second.endswith("loss 0.5")
    assert "3/4" in last
    assert "done" in last


def test_short_work_says_nothing(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO, logger="nlae.terminal.progress")
    assert list(progress.track(range(3), description="quick")) == [0, 1, 2]
    assert caplog.messages == []
    assert capsys.readouterr().out == ""


def test_time_left_is_extrapolated_from_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 10.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.Bar("x", 5)
    with bar:
        bar.done = 2
        assert bar.seconds_left() == pytest.approx(15.0)
        monkeypatch.undo()


def test_nested_bars_share_one_display_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", progress.Console(stderr=True, force_terminal=True))
    with progress.Bar("outer", 2) as outer:
        display = progress.Bar._display
        with progress.Bar("inner", 2) as inner:
            inner.advance()
            assert progress.Bar._display is display
        outer.advance()
        assert progress.Bar._display is display
    assert progress.Bar._display is None


def test_a_failure_inside_closes_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", progress.Console(stderr=True, force_terminal=True))
    with pytest.raises(ValueError, match="x"), progress.Bar("outer", 2):
        raise ValueError("x")
    assert progress.Bar._display is None


def test_log_lines_go_through_the_bars_console_unwrapped_and_unstyled(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", progress.Console(file=out, width=20, force_terminal=False))
    handler = progress.ConsoleHandler()
    line = "explaining [red]four[/] words at /a/rather/long/path"
    handler.emit(logging.LogRecord("nlae", logging.INFO, __file__, 1, line, None, None))
    handler.emit(logging.LogRecord("nlae", logging.WARNING, __file__, 1, "%d to go", (3,), None))
    first, second = out.getvalue().splitlines()
    assert first.endswith(f" {line}")
    assert second.endswith(" warning: 3 to go")


def test_a_log_line_does_not_tear_an_open_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", progress.Console(file=out, width=80, force_terminal=True))
    with progress.Bar("extract", 2) as bar:
        bar.advance()
        progress.ConsoleHandler().emit(logging.LogRecord("nlae", logging.INFO, __file__, 1, "hello", None, None))
        bar.advance()
    torn = [line for line in out.getvalue().split("\n") if "hello" in line and "extract" in line.split("hello")[1]]
    assert not torn
