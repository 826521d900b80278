"""The operator's commands on a real file of SQLite: what they show, what they change, and what they refuse."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from serve_app.access.keys import make_key
from serve_app.cli import app
from serve_app.config import load_config
from serve_app.records.database import Database, migrate
from serve_app.records.jobs import JobRecord, JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.outbox import Outbox, make_entry
from serve_app.webhooks.secrets import HookSecrets
from tests.records.making import NOW, OURS, URL, accept, heartbeat, hook, outcome, read

T = TypeVar("T")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records that have their tables and nothing else."""
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    migrate(load_config().records_url)
    return tmp_path


def on_records(work: Callable[[Database], Awaitable[T]]) -> T:
    async def done() -> T:
        database = Database(load_config().records_url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(done())


def job(id: int = 7) -> JobRecord:
    return on_records(lambda database: read(JobRecords(database), id))


def make_jobs() -> None:
    """7 succeeded, 8 failed with a webhook, 9 runs."""

    async def make(database: Database) -> None:
        records, leases = JobRecords(database), Leases(database)
        for id in (7, 8, 9):
            await accept(records, id, created_at=NOW + id)
        await leases.end(7, 1, outcome(), NOW + 20)
        await leases.end(8, 1, outcome(State.FAILED, hook(8)), NOW + 21)
        await leases.renew(OURS, [heartbeat(9, done=5, started_at=NOW + 11)], NOW + 12)

    on_records(make)


def kill_webhooks(url: str = URL) -> str:
    """The webhook of job 8, given up; its id."""

    async def kill(database: Database) -> str:
        outbox = Outbox(database)
        (due,) = await outbox.claim("courier", NOW + 60, NOW + 30, 10, 10, {})
        assert due.entry.url == url
        await outbox.dead(due.entry.id, "courier", 500, "Internal Server Error", NOW + 31)
        return due.entry.id

    return on_records(kill)


def darkroom(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON may be anything)
    result = darkroom(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_jobs_are_listed_the_newest_first_one_a_line() -> None:
    make_jobs()
    lines = darkroom("jobs", "list").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["9", "running", "5/14"], ["8", "failed", "0/14"], ["7", "success", "14/14"],
    ]  # fmt: skip
    assert lines[2].rstrip().endswith("2023-11-14 22:13:41  The model broke.")


def test_a_list_can_be_kept_to_a_state_and_a_number() -> None:
    make_jobs()
    assert [job["id"] for job in told("jobs", "list", "--state", "failed")] == [8]
    assert [job["id"] for job in told("jobs", "list", "--limit", "2")] == [9, 8]
    assert darkroom("jobs", "list", "--state", "lost").exit_code == 2


def test_a_job_is_shown_whole_and_its_json_is_nested_for_machines() -> None:
    make_jobs()
    shown = dict(line.split(maxsplit=1) for line in darkroom("jobs", "show", "8").stdout.splitlines())
    assert (shown["state"], shown["message"], shown["sampler"]) == ("failed", "The model broke.", "DDIMScheduler")
    assert (shown["created_at"], shown["started_at"]) == ("2023-11-14 22:13:28", "-")
    whole = told("jobs", "show", "8")
    assert (whole["request"]["prompt"], whole["job"]["seed"], whole["created_at"]) == ("a ★", 42, NOW + 8)


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_a_job_that_is_not_there_is_told_on_stderr(verb: str) -> None:
    result = darkroom("jobs", verb, "12345")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "12345" in result.stderr


def test_a_job_that_runs_is_asked_to_end() -> None:
    make_jobs()
    result = darkroom("jobs", "cancel", "9")
    assert (result.exit_code, result.stdout) == (0, "job 9 will be cancelled\n")
    assert job(9).cancel_asked


def test_a_job_that_has_ended_is_not_cancelled() -> None:
    make_jobs()
    result = darkroom("jobs", "cancel", "7")
    assert (result.exit_code, result.stderr.splitlines()[1:]) == (1, ["job 7 has ended before: success"])


def test_a_job_that_failed_is_queued_again_and_one_that_succeeded_is_not() -> None:
    make_jobs()
    assert darkroom("jobs", "retry", "8").stdout == "job 8 is queued again\n"
    assert (job(8).state, job(8).attempts) == (State.QUEUED, 0)
    assert darkroom("jobs", "retry", "7").exit_code == 1


def test_webhooks_are_listed_with_what_their_receivers_said() -> None:
    make_jobs()
    id = kill_webhooks()
    (line,) = darkroom("webhooks", "list").stdout.splitlines()[1:]
    assert line.split() == [id, "8", "dead", "1", "500", "-", URL, "Internal", "Server", "Error"]
    (hook,) = told("webhooks", "list", "--state", "dead")
    assert (hook["id"], hook["last_status"], hook["created_at"]) == (id, 500, NOW)
    assert told("webhooks", "list", "--state", "delivered") == []


def test_no_list_shows_the_secrets_of_urls() -> None:
    secret_url, link = (
        "https://user:hidden1@good.test/hook?token=hidden2",
        "https://b.test/a.png?X-Amz-Signature=hidden3",
    )

    async def make(database: Database) -> None:
        request = f'{{"init_image": "{secret_url}", "prompt": "a star"}}'
        await accept(JobRecords(database), 7, webhook=secret_url, links=(link,), request=request)
        entry = make_entry(7, "first", secret_url, {"id": 7}, NOW)
        await Leases(database).end(7, 1, outcome(State.SUCCESS, entry), NOW + 20)

    on_records(make)
    for command in (("webhooks", "list"), ("jobs", "show", "7"), ("jobs", "list")):
        for shape in ((), ("--json",)):
            shown = darkroom(*command, *shape).stdout
            assert "hidden" not in shown, command
    (hook,) = told("webhooks", "list")
    assert hook["url"] == "https://***@good.test/hook?token=***"


@pytest.mark.parametrize("all_dead", [True, False])
def test_a_dead_webhook_is_sent_again(all_dead: bool) -> None:
    make_jobs()
    id = kill_webhooks()
    result = darkroom("webhooks", "replay", "--all-dead" if all_dead else id)
    assert (result.exit_code, result.stdout) == (0, "1 webhook will be sent again\n")
    (hook,) = told("webhooks", "list")
    assert (hook["state"], hook["attempts"]) == ("pending", 0)


def test_a_replay_names_a_dead_webhook_or_means_all() -> None:
    make_jobs()
    assert darkroom("webhooks", "replay").exit_code == 2
    assert darkroom("webhooks", "replay", "msg_1", "--all-dead").exit_code == 2
    result = darkroom("webhooks", "replay", "msg_1")
    assert (result.exit_code, result.stderr.splitlines()[1:]) == (1, ["there is no dead webhook msg_1"])
    assert darkroom("webhooks", "replay", "--all-dead").stdout == "0 webhooks will be sent again\n"


def test_a_keys_secret_is_made_once_and_rotated_with_an_overlap(data_dir: Path) -> None:
    make_key(data_dir, "phone")
    first = darkroom("webhooks", "secret", "phone").stdout.strip()
    assert first.startswith("whsec_")
    assert darkroom("webhooks", "secret", "phone").stdout.strip() == first
    second = darkroom("webhooks", "secret", "phone", "--rotate", "--overlap-hours", "1").stdout.strip()
    assert darkroom("webhooks", "secret", "phone").stdout.strip() == second != first
    rotated_at = load_config().storage.data_path.stat().st_mtime
    signing = on_records(lambda database: HookSecrets(database).signing("phone", rotated_at + 1800))
    assert signing == (second, first)
    assert on_records(lambda database: HookSecrets(database).signing("phone", rotated_at + 7200)) == (second,)


def test_a_secret_for_a_key_that_is_none_is_not_made() -> None:
    result = darkroom("webhooks", "secret", "phnoe")
    assert (result.exit_code, result.stderr.splitlines()[1:]) == (1, ["there is no key named phnoe"])


COMMANDS = [
    ("jobs", "list"),
    ("jobs", "show", "7"),
    ("jobs", "cancel", "7"),
    ("jobs", "retry", "7"),
    ("webhooks", "list"),
    ("webhooks", "replay", "--all-dead"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_records_that_are_not_there_are_not_made(command: tuple[str, ...], data_dir: Path) -> None:
    (data_dir / "records.sqlite").unlink()
    result = darkroom(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "records.sqlite" in result.stderr
    assert not (data_dir / "records.sqlite").exists()


def test_records_without_tables_are_told(data_dir: Path) -> None:
    (data_dir / "records.sqlite").unlink()
    (data_dir / "records.sqlite").touch()
    result = darkroom("jobs", "list")
    assert result.exit_code == 1
    assert "no such table" in result.stderr


def test_a_database_that_cannot_be_reached_is_told(data_dir: Path) -> None:
    config = data_dir / "config.yaml"
    config.write_text("records: {url: 'postgresql+psycopg://nobody@127.0.0.1:9/darkroom'}")
    result = darkroom("jobs", "list", "--config", str(config))
    assert result.exit_code == 1
    assert result.stderr.startswith("the records cannot be reached")


@pytest.mark.parametrize("text", ["recods: {}", "records: {url: 'mysql://host/db'}"])
@pytest.mark.parametrize("command", [("jobs", "list"), ("webhooks", "list")], ids=" ".join)
def test_a_bad_configuration_is_told(command: tuple[str, ...], text: str, data_dir: Path) -> None:
    config = data_dir / "config.yaml"
    config.write_text(text)
    result = darkroom(*command, "--config", str(config))
    assert result.exit_code == 2
    assert "--config" in result.stderr


def test_a_key_file_that_is_spoilt_is_told(data_dir: Path) -> None:
    (data_dir / "keys.json").write_text("{")
    assert darkroom("webhooks", "secret", "phone").exit_code == 2
    assert darkroom("keys", "create", "phone").exit_code == 2


def test_a_key_is_made_and_shown(data_dir: Path) -> None:
    result = darkroom("keys", "create", "phone")
    assert result.exit_code == 0
    assert len(result.stdout.strip()) >= 43
    assert "phone" in (data_dir / "keys.json").read_text()


def test_the_version_is_told() -> None:
    assert darkroom("version").stdout.strip() == "0.1.0"
