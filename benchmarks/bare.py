"""The physical limit: decode and the compiled function at batch 64 in one process, no service. Prints JSON."""

import argparse
import io
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import work

BATCH = 64


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _decode(png: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def main() -> None:
    """Measures images a second, CPU for each, and the latency of one alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.saving.load_model(options.folder / "model.keras", compile=False)
    spec = tf.TensorSpec([None, work.SIZE, work.SIZE, 3], tf.uint8)
    run = tf.function(lambda rows: model(rows, training=False), input_signature=[spec]).get_concrete_function()
    pngs, right = work.images(options.folder), work.expected(options.folder)
    for size in (1, BATCH):
        run(tf.zeros([size, work.SIZE, work.SIZE, 3], tf.uint8))

    count = wrong = 0
    began, used, decoding = time.perf_counter(), _cpu(), 0.0
    while time.perf_counter() - began < options.seconds:
        numbers = [(count + n) % len(pngs) for n in range(BATCH)]
        before = time.thread_time()
        rows = np.stack([_decode(pngs[n]) for n in numbers])
        decoding += time.thread_time() - before
        best = run(tf.constant(rows)).numpy().argmax(1)
        wrong += sum(int(got) != right[n] for got, n in zip(best, numbers, strict=True))
        count += BATCH
    wall, used = time.perf_counter() - began, _cpu() - used
    alone = []
    for number in range(100):
        before = time.perf_counter()
        run(tf.constant(_decode(pngs[number])[None])).numpy()
        alone.append((time.perf_counter() - before) * 1000)
    json.dump(
        {
            "images_per_second": round(count / wall, 1),
            "cpu_us": round(used / count * 1e6, 1),
            "decode_us": round(decoding / count * 1e6, 1),
            "wrong": wrong,
            "alone_p50_ms": round(sorted(alone)[50], 3),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
