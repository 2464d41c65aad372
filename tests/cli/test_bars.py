import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from cli import predict, progress

EPOCHS, STEPS = 5, 40
WIDTH = 24  # of a training's bar


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the bars write where standard error is a terminal; without colours they draw only what is done."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None, soft_wrap=True)
    monkeypatch.setattr(progress, "err", console)
    monkeypatch.setattr(predict, "err", console)
    return written


def last_frame(drawn: io.StringIO, title: str) -> str:
    *_, last = (line for line in re.split(r"[\r\n]", drawn.getvalue()) if title in line)
    return last


@pytest.mark.parametrize(
    ("epoch", "step", "filled"),
    [(1, 0, 0), (1, 8, 1 / 5), (2, 9, 9 / 40), (2, 16, 2 / 5), (3, 20, 1 / 2), (5, 39, 39 / 40), (5, 40, 1)],
)
def test_the_bar_of_a_training_is_as_full_as_its_steps_of_all_epochs(
    epoch: int, step: int, filled: float, drawn: io.StringIO
) -> None:
    facts = {"stage": "training", "epoch": epoch, "epochs": EPOCHS, "step": step, "steps": STEPS}
    with progress.JobProgress("training") as display:
        display.update({"id": "a1", "status": "processing", "progress": {"stage": "loading", "epoch": 0, "epochs": 5}})
        display.update({"id": "a1", "status": "processing", "progress": facts})
    frame = last_frame(drawn, "training")
    assert f"epoch {epoch}/5" in frame
    assert frame.count("━") + frame.count("╸") / 2 == pytest.approx(WIDTH * filled, abs=0.51), frame


def test_the_bar_of_predict_counts_the_files_that_have_an_answer_earlier_ones_too(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path, drawn: io.StringIO
) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"PNG " + name.encode())
    schema = {"components": {"schemas": {"Input": {"properties": {"image": {}}}}}}
    refused: list[bytes] = []

    def answer(request: Any) -> Any:
        if request.method == "GET":
            return reply({"latest_version": {"id": "5" * 64, "openapi_schema": schema}})
        if any(request.body.endswith(name) for name in refused):
            return reply({"detail": "The key has ended."}, 401)
        return reply({"id": "a1", "status": "succeeded", "output": {"label": "cat", "score": 0.5}}, 201)

    server.answer = answer
    for name, count in ((b"b", "1/4"), (b"", "4/4")):
        refused[:] = [name] if name else []
        result = against_server(
            "predict", tmp_path, "--model", "me/cats", "--in-flight", 1, "--out", tmp_path / "answers.csv"
        )
        assert (result.exit_code == 0) == (not name), result.output
        frame = last_frame(drawn, "predicting")
        assert count in frame, frame
        assert frame.count("━") + frame.count("╸") / 2 == pytest.approx(40 * int(count[0]) / 4, abs=0.51)
