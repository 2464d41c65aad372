"""Draws circles, squares and triangles into one folder a class.

python examples/shapes/draw.py shapes/ --count 300 --seed 1
"""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 32
SHAPES = ("circle", "square", "triangle")


def draw(shape: str, dice: random.Random) -> Image.Image:
    """One picture: a shape in a colour on another, somewhere, of some size."""
    image = Image.new("RGB", (SIZE, SIZE), tuple(dice.randrange(0, 110) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    edge = dice.randrange(12, 24)
    left, top = dice.randrange(SIZE - edge), dice.randrange(SIZE - edge)
    colour = tuple(dice.randrange(140, 256) for _ in range(3))
    box = (left, top, left + edge, top + edge)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(left, top + edge), (left + edge, top + edge), (left + edge // 2, top)], fill=colour)
    return image


def main() -> None:
    """Draws as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300, help="pictures of each shape")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other pictures")
    chosen = parser.parse_args()
    dice = random.Random(chosen.seed)
    for shape in SHAPES:
        (chosen.folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(chosen.count):
            draw(shape, dice).save(chosen.folder / shape / f"{number:04}.png")


if __name__ == "__main__":
    main()
