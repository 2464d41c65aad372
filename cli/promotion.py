"""Moves an alias and waits until the workers are ready for the move."""

from typing import Any

from cli.client import Client
from cli.terminal import Failure, Interrupted, err

STEP_SECONDS = 0.5


def move(client: Client, model: str, alias: str, version: str, reason: str | None = None) -> dict[str, Any]:
    """Asks for the move and answers the alias as it is now."""
    body = {"version": version} | ({"reason": reason} if reason else {})
    state: dict[str, Any] = client.put(f"/v1/models/{model}/aliases/{alias}", body)
    return state


def wait_for_move(
    client: Client, model: str, alias: str, state: dict[str, Any], is_quiet: bool = False, wanted: str = ""
) -> dict[str, Any]:
    """Waits until a move that was asked for is done.

    Args:
        client: The server.
        model: The model, ``owner/name``.
        alias: The alias that moves.
        state: What the server said of it last.
        is_quiet: Show nothing.
        wanted: The version that it moves to, if the state may not know of the move.

    Raises:
        Failure: A worker could not load the version; the alias stays where it was.
        Interrupted: Ctrl-C; the move goes on.
    """
    wanted = wanted or (state.get("pending") or state)["version"]
    with err.status("waiting for the workers to load it", spinner="dots") as display:
        if is_quiet or not err.is_terminal:
            display.stop()
        try:
            while (pending := state.get("pending")) and not pending.get("failed"):
                ready, missing = len(pending.get("ready") or ()), len(pending.get("missing") or ())
                display.update(f"waiting for the workers to load it: {ready} of {ready + missing} are ready")
                client.pause(STEP_SECONDS)
                state = client.get(f"/v1/models/{model}/aliases/{alias}")
        except KeyboardInterrupt:
            raise Interrupted(f"The move of {alias} goes on without this command.") from None
    if pending:
        raise Failure(f"The version could not be loaded, so {alias} stays where it was: {pending['failed']}")
    if state.get("version") != wanted:
        raise Failure(f"Another move of {alias} came in between; it is {state.get('version')} now.")
    return state
