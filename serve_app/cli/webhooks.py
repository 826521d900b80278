"""`darkroom webhooks`: what became of deliveries, and the secrets that sign them."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from serve_app.access.keys import key_names
from serve_app.cli.keys import bad_keys_told
from serve_app.cli.records import (
    AsJson,
    ConfigFile,
    DataDir,
    Limit,
    ask,
    configuration,
    moment,
    on_records,
    show_json,
    show_table,
    stop,
    tell_data_dir,
)
from serve_app.records.outbox import HookRecord, HookState, Outbox
from serve_app.urls import shown_url
from serve_app.webhooks.secrets import HookSecrets

webhooks = typer.Typer(help="Webhooks: deliveries and secrets.", no_args_is_help=True)

COLUMNS = ("id", "job", "state", "attempts", "status", "next try, UTC", "url", "error")
HOUR_S = 3600.0

OfState = Annotated[HookState | None, typer.Option("--state", help="Only these; dead ones were given up.")]


@webhooks.command("list")
def list_webhooks(
    state: OfState = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """The newest webhooks and how far they got."""
    found = on_records(config, data_dir, lambda database: Outbox(database).listing(state, limit))
    if as_json:
        show_json([{**asdict(record), "url": shown_url(record.url)} for record in found])
    else:
        show_table(COLUMNS, [_row(record) for record in found])


@webhooks.command("replay")
def replay(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The webhook-id, msg_...")] = None,
    all_dead: Annotated[
        bool,
        typer.Option("--all-dead", help="All that were given up, but those whose receivers said that they are gone."),
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Deliver dead webhooks after all, now and with all attempts before them."""
    if (id is None) != all_dead:
        raise typer.BadParameter("name one webhook, or --all-dead")
    count = on_records(config, data_dir, lambda database: Outbox(database).replay(id, time.time()))
    if id is not None and not count:
        raise stop(f"there is no dead webhook {id}")
    print(f"{count} webhook{'' if count == 1 else 's'} will be sent again")


@webhooks.command("secret")
def secret(
    key_name: Annotated[str, typer.Argument(help="The name of a client's key.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one.")] = False,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old one signs along after that.")] = 24.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print the secret that the receivers of a key's webhooks verify with."""
    settings = configuration(config, data_dir)
    tell_data_dir(settings, data_dir)
    with bad_keys_told():
        names = key_names(settings.auth, settings.storage.data_path)
    if key_name not in names:
        raise stop(f"there is no key named {key_name}")
    now = time.time()
    if rotate:
        print(ask(settings, lambda database: HookSecrets(database).rotate(key_name, overlap_hours * HOUR_S, now)))
    else:
        print(ask(settings, lambda database: HookSecrets(database).current(key_name, now)))


def _row(hook: HookRecord) -> tuple[str, ...]:
    status = "-" if hook.last_status is None else str(hook.last_status)
    next_at = moment(hook.next_at) if hook.state == HookState.PENDING else "-"
    counts = str(hook.job_id), hook.state, str(hook.attempts), status
    return hook.id, *counts, next_at, shown_url(hook.url), hook.last_error or ""
