import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.http_client import HttpClient
from shared.settings import Settings
from tests.shared.outbound.servers import Listener, answering


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Makes a server; it answers 200 unless told what to say."""
    made: list[Listener] = []

    def make(speak: Callable[..., None] | None = None, **options: Any) -> Listener:
        listener = Listener(**options)
        listener.speak = functools.partial(speak or answering(), listener)
        made.append(listener)
        return listener

    yield make
    for listener in made:
        listener.close()


@pytest.fixture
def make_client() -> Callable[..., HttpClient]:
    """Makes a client that may reach this machine, or what it is told."""

    def make(networks: tuple[str, ...] = ("127.0.0.0/8",), ca_file: Any = None, **options: Any) -> HttpClient:
        settings = Settings(outgoing={"allowed_networks": networks, "ca_file": ca_file})  # type: ignore[arg-type]
        return HttpClient(settings, **options)

    return make
