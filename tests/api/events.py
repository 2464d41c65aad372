"""Reads server-sent events as the standard says, from a reply that may still be open."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    name: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def events_of(pieces: Iterable[bytes]) -> Iterator[Received | None]:
    """Every event, and ``None`` for a heartbeat."""
    rest = ""
    for piece in pieces:
        rest += piece.decode()
        while "\n\n" in rest:
            block, rest = rest.split("\n\n", 1)
            fields: dict[str, list[str]] = {}
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                fields.setdefault(name, []).append(value.removeprefix(" "))
            if "data" not in fields:
                assert block == ": hb"
                yield None
            else:
                yield Received(fields["event"][0], "\n".join(fields["data"]), fields["id"][0])


def named(events: Iterable[Received | None]) -> list[tuple[str, str]]:
    return [(event.name, event.data) for event in events if event is not None]
