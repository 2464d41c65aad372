"""The training loop: steps, epochs, early stopping and checkpoints.

Between any two steps the state and the variables say all there is to say about the training, so it can stop and go on
there. Every step asks whether the job is still ours.
"""

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.errors import JobReleased, TrainingError
from workers.training.batches import Feeder, epoch_order
from workers.training.callbacks import Progress
from workers.training.checkpoints import Arrays, Checkpoints, TrainingState
from workers.training.recipes.image_classifier import optimizer
from workers.training.setup import Setup

_EVALUATED_PIXELS = 1 << 22
_MOST_EVALUATED = 256


class Fit:
    """One attempt at a training.

    Args:
        setup: What it works with; the network has its first weights.
        feeder: Brings the batches.
        state: How far earlier attempts came.
        checkpoints: Where to keep how far this one comes.
        checkpoint_seconds: Least time between two checkpoints within an epoch.
        scratch: A folder of this machine.
    """

    def __init__(
        self,
        setup: Setup,
        feeder: Feeder,
        state: TrainingState,
        checkpoints: Checkpoints,
        checkpoint_seconds: float,
        scratch: Path,
    ) -> None:
        self._setup, self._feed, self.state = setup, feeder, state
        self._run, self._parameters, self._examples = setup.run, setup.parameters, setup.examples
        self._model = setup.network.core if setup.is_ragged else setup.network.model
        self._optimizer = optimizer(setup.parameters)
        self._optimizer.build(self._model.trainable_variables)
        self._checkpoints, self._checkpoint_seconds, self._scratch = checkpoints, checkpoint_seconds, scratch
        self._best: list[NDArray[Any]] = []
        steps_per_epoch = math.ceil(len(self._examples["train"]) / self._parameters.batch_size)
        self._progress = Progress(self._run, self._parameters.epochs, steps_per_epoch)
        self._pending: list[tuple[Any, Any, int]] = []
        self._clock = self._saved = time.monotonic()
        self._step, self._score = self._compiled()

    def restore(self, arrays: Arrays) -> None:
        """Gives every variable the value that a checkpoint holds."""
        for kind, variables in self._variables().items():
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{kind}/{index:04d}"])
        self._best = [arrays[name] for name in sorted(arrays) if name.startswith("best/")]

    def fit(self) -> None:
        """Trains to the end, or until the job is taken away.

        Raises:
            TrainingError: The loss is no longer a number.
        """
        try:
            while self.state.epoch < self._parameters.epochs and not self.state.is_stopped:
                self._train_epoch()
                self._end_epoch()
        except JobReleased:
            self._save()
            raise
        if self._best:
            for variable, value in zip(self._model.weights, self._best, strict=True):
                variable.assign(value)

    def evaluate(self, split: str) -> tuple[float, NDArray[np.int64]]:
        """Mean loss on a split, and the index of the label that is answered for each of its examples."""
        examples = self._examples[split]
        height, width = self._setup.network.side
        size = min(_MOST_EVALUATED, max(1, _EVALUATED_PIXELS // (height * width)))
        loss_sum = 0.0
        answers: list[NDArray[np.int64]] = []
        for images, labels in self._feed(examples, np.arange(len(examples)), size):
            self._run.check()
            loss, answered = self._score(images, labels)
            loss_sum += float(loss)
            answers.append(answered.numpy())
        loss = loss_sum / max(1, len(examples))
        if not math.isfinite(loss):
            raise self._lost()
        return loss, np.concatenate(answers or [np.empty(0, np.int64)])

    def _train_epoch(self) -> None:
        state, size = self.state, self._parameters.batch_size
        examples = self._examples["train"]
        order = epoch_order(self._parameters.seed, state.epoch, len(examples))
        for images, labels in self._feed(examples, order[state.batch * size :], size):
            self._run.check()
            loss, correct = self._step(images, labels)
            self._pending.append((loss, correct, len(labels)))
            state.batch += 1
            state.steps += 1
            self._progress.stepped(state, len(labels))
            if self._progress.is_due:
                self._collect()
                self._progress.tell(state)
            if time.monotonic() - self._saved >= self._checkpoint_seconds:
                self._save()
        self._collect()

    def _end_epoch(self) -> None:
        state = self.state
        figures = {"loss": state.loss_sum / state.seen, "accuracy": state.correct / state.seen}
        if len(self._examples["validation"]):
            figures["val_loss"], answers = self.evaluate("validation")
            figures["val_accuracy"] = float((answers == self._examples["validation"].labels).mean())
        for name, value in figures.items():
            state.history.setdefault(name, []).append(value)
        state.epoch += 1
        state.batch = state.seen = state.correct = 0
        state.loss_sum = 0.0
        if self._parameters.early_stopping:
            self._judge(figures.get("val_loss", figures["loss"]))
        self._save()
        self._progress.epoch_done(state)

    def _judge(self, loss: float) -> None:
        """Remembers the best weights, and stops when they have been the best for long enough."""
        state = self.state
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_epoch, state.epochs_since_best = loss, state.epoch, 0
            self._best = [variable.numpy() for variable in self._model.weights]
            return
        state.epochs_since_best += 1
        if state.epochs_since_best >= self._parameters.early_stopping:
            state.is_stopped = True
            self._run.log(f"stopping early: epoch {state.best_epoch} was the best, {state.epochs_since_best} ago")

    def _collect(self) -> None:
        """Adds up the figures of the steps since the last time; asking for each one at once would hold up a GPU."""
        for loss, correct, examples in self._pending:
            value = float(loss)
            if not math.isfinite(value):
                raise self._lost()
            self.state.loss_sum += value * examples
            self.state.correct += int(correct)
            self.state.seen += examples
        self._pending.clear()
        now = time.monotonic()
        self.state.seconds += now - self._clock
        self._clock = now

    def _save(self) -> None:
        self._collect()
        arrays = {f"best/{index:04d}": value for index, value in enumerate(self._best)}
        for kind, variables in self._variables().items():
            arrays |= {f"{kind}/{index:04d}": variable.numpy() for index, variable in enumerate(variables)}
        self._checkpoints.save(self.state, arrays, self._scratch)
        self._saved = time.monotonic()
        self._run.checkpointed()

    def _variables(self) -> dict[str, list[Any]]:
        # A model's variables include the random state of its dropout, its weights do not.
        return {"model": self._model.variables, "optimizer": self._optimizer.variables}

    def _lost(self) -> TrainingError:
        return TrainingError(
            f"the loss is no longer a number in epoch {self.state.epoch + 1}; "
            f"try a learning_rate below {self._parameters.step_size:g}"
        )

    def _compiled(self) -> tuple[Any, Any]:
        model, update = self._model, self._optimizer
        mean_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
        signature = [self._images(), tf.TensorSpec((None,), tf.int32)]

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def step(images: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                scores = model(images, training=True)
                loss = mean_loss(labels, scores)
            variables = model.trainable_variables
            update.apply(tape.gradient(loss, variables), variables)
            return loss, tf.math.count_nonzero(tf.argmax(scores, -1, tf.int32) == labels)

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def score(images: Any, labels: Any) -> Any:
            scores = model(images, training=False)
            loss = mean_loss(labels, scores) * tf.cast(tf.shape(labels)[0], tf.float32)
            return loss, tf.argmax(scores, -1)

        return step, score

    def _images(self) -> Any:
        if self._setup.is_ragged:
            return tf.TensorSpec(self._model.inputs[0].shape, tf.float32)
        return tf.TensorSpec((None, *(self._setup.dataset.image_shape or ())), tf.uint8)
