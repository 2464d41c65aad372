import random
from collections.abc import Callable

import numpy as np

from shared.errors import DatasetRefused


def test_damaged_uploads_are_refused_or_read_and_nothing_else(
    two_classes: Callable[..., dict[str, bytes]],
    pack: Callable[..., bytes],
    savez: Callable[..., bytes],
    run_prepare: Callable[..., dict],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    uploads = [pack(two_classes(3)), savez(x=pixels, y=np.arange(12) % 2)]
    dice = random.Random(0)
    refused = read = 0
    for turn in range(200):
        upload = bytearray(uploads[turn % 2])
        # The directory at the end decides most, so most of the damage goes there.
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(upload)) if dice.random() < 0.4 else -dice.randrange(1, min(600, len(upload)))
            upload[at] = dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))
        if dice.random() < 0.1:
            upload = upload[: dice.randrange(len(upload))]
        try:
            run_prepare(bytes(upload))
            read += 1
        except DatasetRefused:
            refused += 1
    assert refused > 20 and read > 20
