"""`darkroom jobs`: what the records say of jobs, and what an operator may ask of them."""

import json
import time
from dataclasses import asdict, fields
from typing import Annotated

import typer

from serve_app.cli.records import (
    AsJson,
    ConfigFile,
    DataDir,
    Limit,
    moment,
    on_records,
    show_fields,
    show_json,
    show_table,
    stop,
)
from serve_app.records.jobs import JobRecord, JobRecords, State
from serve_app.urls import shown_url, without_secrets

jobs = typer.Typer(help="The jobs in the records.", no_args_is_help=True)

COLUMNS = ("id", "state", "done", "model", "key", "attempts", "accepted, UTC", "ended", "message")
TIMES = tuple(field.name for field in fields(JobRecord) if field.name.endswith(("_at", "_until")))

JobId = Annotated[int, typer.Argument(metavar="ID", help="As the answer to its client told it.")]
OfState = Annotated[State | None, typer.Option("--state", help="Only these.")]


@jobs.command("list")
def list_jobs(
    state: OfState = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """The newest jobs."""
    found = on_records(config, data_dir, lambda database: JobRecords(database).list(state=state, limit=limit))
    if as_json:
        show_json([_whole(record) for record in found])
    else:
        show_table(COLUMNS, [_row(record) for record in found])


@jobs.command("show")
def show(id: JobId, as_json: AsJson = False, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Everything about one job."""
    record = on_records(config, data_dir, lambda database: JobRecords(database).get(id))
    if record is None:
        raise stop(f"there is no job {id}")
    if as_json:
        show_json(_whole(record))
    else:
        shown = {**asdict(record), **_without_secrets(record)}
        show_fields({name: moment(value) if name in TIMES else value for name, value in shown.items()})


@jobs.command("cancel")
def cancel(id: JobId, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Ask for a job's end; whoever drives it ends it within seconds."""
    record = on_records(config, data_dir, lambda database: JobRecords(database).ask_cancel(id))
    if record is None:
        raise stop(f"there is no job {id}")
    if record.state not in (State.QUEUED, State.RUNNING):
        raise stop(f"job {id} has ended before: {record.state}")
    print(f"job {id} will be cancelled")


@jobs.command("retry")
def retry(id: JobId, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Queue a failed or cancelled job again, with the same seed and all its attempts and time before it."""
    record = on_records(config, data_dir, lambda database: JobRecords(database).retry(id, time.time()))
    if record is None:
        raise stop(
            f"job {id} cannot run again: only one that failed or was cancelled, whose picture is still kept, and whose "
            "files are not being deleted just now (that takes two minutes at most)"
        )
    print(f"job {id} is queued again")


def _row(job: JobRecord) -> tuple[str, ...]:
    done = f"{job.done}/{job.total}"
    times = moment(job.created_at), moment(job.ended_at)
    return str(job.id), job.state, done, job.model_id, job.key_name, str(job.attempts), *times, job.message or ""


def _whole(job: JobRecord) -> dict[str, object]:
    """As JSON; what is JSON in the record is nested and not quoted."""
    nested = {"request": json.loads(without_secrets(job.request)), "job": json.loads(job.job)}
    return {**asdict(job), **_without_secrets(job), **nested}


def _without_secrets(job: JobRecord) -> dict[str, object]:
    """The fields that hold URLs, as they are shown: strangers' may hold passwords, and links of ours signatures."""
    return {
        "webhook": None if job.webhook is None else shown_url(job.webhook),
        "request": without_secrets(job.request),
        "links": tuple(shown_url(link) for link in job.links),
    }
