"""``headrace keys``: makes, lists and revokes API keys, straight on Redis, so that a first one can be made anywhere.

A token for browsers is made by a key, and so by the API.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.client import Client
from cli.data_folder import DataFolder, without_password
from cli.terminal import (
    Commands,
    Failure,
    as_json_option,
    data_dir_option,
    print_facts,
    print_json,
    print_table,
    say,
    with_options,
)
from shared.api_keys import SCOPES, ApiKey, ApiKeys
from shared.connections import open_redis, translated
from shared.errors import Unavailable
from shared.settings import load_settings

_options = with_options(data_dir_option, as_json_option)


@click.group(cls=Commands)
def keys() -> None:
    """Make, list and revoke API keys; they are made on Redis, no API is needed.

    Example: headrace keys create --account ci --scopes read,predictions:write
    """


@keys.command()
@click.option("--account", default="default", show_default=True, help="Whom the key speaks for.")
@click.option("--name", default="", help="What it is for.")
@click.option("--scopes", default="admin", show_default=True, help=f"What it may do: {', '.join(SCOPES)}.")
@click.option("--expires-days", type=click.FloatRange(min=0, min_open=True), help="Days until it stops working.")
@_options
def create(
    account: str, name: str, scopes: str, expires_days: float | None, data_dir: Path | None, as_json: bool
) -> None:
    """Make a key and print it; it cannot be shown again.

    Example: headrace keys create --account ci --scopes read,predictions:write --expires-days 90
    """
    expires_at = None if expires_days is None else time.time() + expires_days * 86_400
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    text, key = _open(data_dir).create(account, name, wanted, expires_at)
    if as_json:
        print_json({"key": text, **_facts(key)})
        return
    click.echo(text)
    say(f"Made for the account {account}; it is shown this once only.")


@keys.command("list")
@_options
def list_keys(data_dir: Path | None, as_json: bool) -> None:
    """List every key, without the keys themselves.

    Example: headrace keys list
    """
    found = [_facts(key) for key in _open(data_dir).list()]
    if as_json:
        print_json(found)
        return
    columns = ("id", "prefix", "account", "name", "scopes", "created", "expires", "last used")
    rows = [
        (
            key["id"],
            key["prefix"],
            key["account"],
            key["name"],
            ", ".join(key["scopes"]),
            key["created_at"],
            key["expires_at"],
            key["last_used_at"],
        )
        for key in found
    ]
    print_table(columns, rows, "There are no keys yet; `headrace keys create` makes one.")


@keys.command("browser-token")
@click.argument("model", metavar="OWNER/NAME")
@click.option("--expires-in", type=click.IntRange(min=1), default=600, show_default=True, help="Seconds that it lives.")
@_options
def browser_token(model: str, expires_in: int, data_dir: Path | None, as_json: bool) -> None:
    """Make a token that a page may hold: it makes and reads its own predictions of one model, and nothing else.

    It ends with the key that made it, the one that this command uses.

    Example: headrace keys browser-token acme/digits --expires-in 600
    """
    made = Client.of_folder(data_dir).post("/v1/browser-tokens", {"model": model, "expires_in": expires_in})
    if as_json:
        print_json(made)
        return
    click.echo(made["token"])
    say(f"For predictions of {model} until {made['expires_at']}; it is shown this once only.")


@keys.command()
@click.argument("key_id", metavar="ID")
@_options
def revoke(key_id: str, data_dir: Path | None, as_json: bool) -> None:
    """End a key, by its id or prefix; every process refuses it within a second.

    Example: headrace keys revoke 1f2e3d4c5b6a7988
    """
    key = _open(data_dir).revoke(key_id)
    if as_json:
        print_json({"revoked": _facts(key)})
    else:
        print_facts({"revoked": key.id, "account": key.account, "name": key.name})


def _open(data_dir: Path | None) -> ApiKeys:
    folder = DataFolder(load_settings(**({"data_dir": data_dir} if data_dir else {})).data_dir)
    settings = folder.settings_here()
    redis = open_redis(settings)
    try:
        with translated():
            redis.ping()
    except Unavailable as error:
        raise Failure(
            f"No Redis server answers at {without_password(settings.redis.url)}; "
            "start one with `headrace up`, or set HEADRACE_REDIS__URL."
        ) from error
    return ApiKeys(redis, settings)


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "account": key.account,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "last_used_at": _moment(key.last_used_at),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
