from typing import Any

import pytest

from shared.datasets.dataset import DEFAULT_FRACTIONS, parse_fractions, parse_seed
from shared.errors import InvalidInput


def test_shares_are_read() -> None:
    assert parse_fractions(None) == DEFAULT_FRACTIONS
    assert parse_fractions({"train": 0.9, "test": 0.1}) == {"train": 0.9, "validation": 0.0, "test": 0.1}
    assert parse_seed(None) == 0 and parse_seed(5) == 5 and parse_seed("17") == 17


@pytest.mark.parametrize(
    "value",
    [
        [],
        "0.8",
        {},
        {"train": 1},
        {"train": 0.5, "test": 0.6},
        {"train": 0.8, "test": 0.1, "dev": 0.1},
        {"train": True, "test": 0.0},
        {"train": 1.2, "test": -0.2},
        {"train": float("nan"), "test": 0.1},
        {"train": 0, "validation": 0.5, "test": 0.5},
        {"train": "0.9", "test": 0.1},
    ],
)
def test_shares_that_make_no_sense_name_the_field(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_fractions(value)
    assert caught.value.field is not None and caught.value.field.startswith("splits")


@pytest.mark.parametrize("value", [-1, 2**31, True, 1.0, "x", "", "99999999999", [], "²"])
def test_a_seed_that_makes_no_sense_names_the_field(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_seed(value)
    assert caught.value.field == "seed"
