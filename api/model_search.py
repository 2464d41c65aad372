"""Finds models and recipes by the words of their names and descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.catalogue import model_entry_object
from api.pages import cut, page_object
from api.services import services
from shared.models.model import Model
from shared.models.recipes import RECIPES, Recipe

MOST_CHARACTERS = 1000
"""Longest text that is looked for."""

_EXACT, _NAMED, _DESCRIBED = "0", "1", "2"
_SCORES = {_EXACT: 1.0, _NAMED: 0.8, _DESCRIBED: 0.5}


@dataclass(frozen=True, slots=True)
class Match:
    """A model that has every word of a text."""

    rank: str
    """Orders matches, the best first."""
    entry: Model | Recipe

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.entry.owner}/{self.entry.name}"

    @property
    def score(self) -> float:
        """From 0 to 1."""
        return _SCORES[self.rank]


def find_models(text: str) -> Sequence[Match]:
    """The models that have every word of a text, the best first; all of them where there is no word."""
    words = text.casefold().split()
    entries: list[Model | Recipe] = [*RECIPES.values(), *services().registry.list_models()]
    found = (Match(rank, entry) for entry in entries if (rank := _rank(entry, words)))
    return sorted(found, key=lambda match: (match.rank, match.full_name))


def found_page(text: str) -> dict[str, Any]:
    """A page of the models that have every word of a text; the next one is a ``GET`` whose query has the text."""
    page, following, previous = cut(find_models(text), lambda one: (one.rank, one.full_name), descending=False)
    return page_object([model_entry_object(match.entry) for match in page], following, previous, query=text)


def _rank(entry: Model | Recipe, words: Sequence[str]) -> str:
    full_name = f"{entry.owner}/{entry.name}"
    if words in ([full_name], [entry.name]):
        return _EXACT
    if all(word in full_name for word in words):
        return _NAMED
    everything = f"{full_name} {entry.description}".casefold()
    return _DESCRIBED if all(word in everything for word in words) else ""
