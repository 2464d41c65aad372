"""Brings the examples to the network: the order of an epoch, and batches that are ready before they are asked for."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from workers.examples import Examples
from workers.training.setup import Setup

Batch = tuple[NDArray[Any], NDArray[np.int32]]
Indices = NDArray[np.int64]


def epoch_order(seed: int, epoch: int, examples: int) -> Indices:
    """The order of the examples in an epoch, which follows from seed and epoch alone.

    A training that is resumed therefore sees what it would have seen.
    """
    return np.random.default_rng([seed, epoch]).permutation(examples)


class Feeder:
    """Reads batches in threads of its own, a few ahead, while its block lasts.

    Images of one shape go to the network as they are. Others are resized here, one by one and by the model's own
    layer, so that they can share a batch.

    Args:
        setup: The data and the network.
    """

    def __init__(self, setup: Setup) -> None:
        resizing, channels = setup.network.resizing, setup.dataset.channels
        self._is_ragged = setup.is_ragged
        self._resize: Callable[[Any], Any] = tf.function(
            lambda image: resizing(image[tf.newaxis])[0],
            input_signature=[tf.TensorSpec((None, None, channels), tf.uint8)],
        )
        threads = min(4, os.cpu_count() or 1) if setup.dataset.is_encoded else 1
        self._ahead = threads + 1
        self._pool = ThreadPoolExecutor(threads, "batches")

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, examples: Examples, order: Indices, size: int) -> Iterator[Batch]:
        """Batches of examples in the given order; the last one may be smaller."""
        starts = iter(range(0, len(order), size))
        waiting: deque[Future[Batch]] = deque()
        try:
            while True:
                while len(waiting) < self._ahead and (start := next(starts, None)) is not None:
                    waiting.append(self._pool.submit(self._batch, examples, order[start : start + size]))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _batch(self, examples: Examples, indices: Indices) -> Batch:
        if self._is_ragged:
            images = np.stack([self._resize(examples.image(int(index))).numpy() for index in indices])
        else:
            images = examples.stacked(indices)
        return images, examples.labels[indices]
