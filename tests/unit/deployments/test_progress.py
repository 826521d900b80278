"""A wait is one line that counts seconds at a terminal, and few lines elsewhere."""

import io

from deployments.progress import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_a_wait_is_one_line_drawn_anew() -> None:
    now = [0.0]
    screen = Screen()
    terminal = Terminal("darkroom", screen, lambda: now[0])
    terminal.wait_for("starting Ray")
    now[0] = 3.0
    terminal.tick()
    terminal.say("ready")
    assert "\n" not in screen.getvalue().split("ready")[0]
    assert "darkroom: starting Ray … 3 s" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[Kdarkroom: ready\n")


def test_elsewhere_it_is_a_line_when_it_begins_and_one_now_and_then() -> None:
    now = [0.0]
    out = io.StringIO()
    terminal = Terminal("darkroom", out, lambda: now[0])
    terminal.wait_for("starting Ray")
    for second in range(40):
        now[0] = float(second)
        terminal.wait_for("starting Ray")
    terminal.wait_for("")
    terminal.tick()
    assert out.getvalue().splitlines() == [
        "darkroom: starting Ray …",
        "darkroom: starting Ray … 15 s",
        "darkroom: starting Ray … 30 s",
    ]
