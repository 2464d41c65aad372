"""Tells the owner of a training how far it is, twice a second and at the end of every epoch."""

import math
import time
from typing import Any

from workers.progress import bar_line
from workers.run import Run
from workers.training.checkpoints import TrainingState

_SHOWN = ("loss", "accuracy", "val_loss", "val_accuracy")


class Progress:
    """Progress events and log lines of one training.

    Args:
        run: The job.
        epochs: Epochs that the training shall have.
        steps_per_epoch: Batches of one epoch.
    """

    PERIOD_SECONDS = 0.5
    """How often an event is sent within an epoch."""

    def __init__(self, run: Run, epochs: int, steps_per_epoch: int) -> None:
        self._run, self._epochs, self._per_epoch = run, epochs, steps_per_epoch
        self._told = time.monotonic()
        self._began: float | None = None
        self._first_step = self._first_example = self._examples = 0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next event."""
        return time.monotonic() - self._told >= self.PERIOD_SECONDS

    def stepped(self, state: TrainingState, examples: int) -> None:
        """Notes a step; the first one, which compiles the network, says nothing of the pace of the others."""
        self._examples += examples
        if self._began is None:
            self._began = time.monotonic()
            self._first_step, self._first_example = state.steps, self._examples

    def tell(self, state: TrainingState) -> None:
        """Sends the figures of the epoch under way."""
        self._told = time.monotonic()
        facts = self._facts(state, min(state.epoch + 1, self._epochs))
        if state.seen:
            facts["loss"], facts["accuracy"] = state.loss_sum / state.seen, state.correct / state.seen
        facts |= {name: values[-1] for name, values in state.history.items() if name.startswith("val_")}
        self._send(facts, state)

    def epoch_done(self, state: TrainingState) -> None:
        """Sends the figures of an epoch that has ended; the state counts it already."""
        self._told = time.monotonic()
        facts = self._facts(state, state.epoch)
        facts |= {name: values[-1] for name, values in state.history.items()}
        self._send(facts, state)

    def _facts(self, state: TrainingState, epoch: int) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "stage": "training",
            "epoch": epoch,
            "epochs": self._epochs,
            "step": state.steps,
            "steps": self._epochs * self._per_epoch,
        }
        seconds = 0.0 if self._began is None else self._told - self._began
        steps = state.steps - self._first_step
        if seconds > 0 and steps > 0:
            facts["eta_seconds"] = round((facts["steps"] - state.steps) * seconds / steps, 1)
            facts["examples_per_second"] = round((self._examples - self._first_example) / seconds, 1)
        return facts

    def _send(self, facts: dict[str, Any], state: TrainingState) -> None:
        shown: dict[str, Any] = {"epoch": f"{facts['epoch']}/{self._epochs}"}
        shown |= {
            name: f"{facts[name]:.4f}" for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in facts
        }
        self._run.log(bar_line(state.steps, facts["steps"], state.seconds, "step", shown))
        self._run.report(**{name: value for name, value in facts.items() if _is_sendable(value)})


def _is_sendable(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
