"""`darkroom submit` against a real server on loopback: what comes out, and what goes wrong on the way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serve_app.api.answers import failed, posted, processing, success
from serve_app.api.problems import problem
from serve_app.cli import app
from serve_app.cli.replies import Refused, Unreachable
from serve_app.cli.service import Service
from serve_app.errors import ConfigError, InvalidFields, InvalidKey, JobNotFound, Overloaded, RecordsUnavailable
from tests.unit.api.viewing import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED
from tests.unit.cli.pretend_service import CUT, HOLD, PICTURE, PretendService, Says, Scripted, serving

PROMPT = ("--prompt", "a red star")
ID = QUEUED.id
NOW_AND_THEN = (0.01,) * 4
ACCEPTED = Says(processing(QUEUED))
NOT_JSON = Says(b"<html>Bad Gateway</html>", 502)


def refusal(error: Exception) -> Says:
    status, body, _ = problem(error)  # type: ignore[arg-type]
    return Says(body, status)


@pytest.fixture
def service() -> Iterator[PretendService]:
    with serving(PretendService(posts=[ACCEPTED])) as running:
        links = tuple(f"{running.url}/files/{n}.png" for n in range(2))
        running.events = [[QUEUED, RUNNING, replace(SUCCEEDED, links=links[:1])]]
        running.fetches = [Says(success(SUCCEEDED, links[:1]))]
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DARKROOM_KEY", raising=False)
    (tmp_path / "cat.png").write_bytes(b"a cat")
    return tmp_path


def submit(service: PretendService, *options: str) -> Result:
    return CliRunner().invoke(app, ["submit", "cat.png", *PROMPT, "--url", service.url, "--key", "abc", *options])


def test_the_picture_is_saved_and_its_path_is_all_that_stdout_says(service: PretendService, folder: Path) -> None:
    result = submit(service)
    assert (result.exit_code, result.stdout) == (0, f"cat-{ID}.png\n")
    assert (folder / f"cat-{ID}.png").read_bytes() == PICTURE


def test_the_request_carries_the_picture_the_fields_the_key_and_an_idempotency_key(service: PretendService) -> None:
    submit(service, "--strength", "0.4", "--seed", "7", "--model", "pocket", "--field", "lora_model=stripes")
    (post,) = service.of("POST")
    assert post.headers["Authorization"] == "Bearer abc"
    assert len(post.headers["Idempotency-Key"]) == 36
    sent = {
        part.split(b'name="')[1].split(b'"')[0].decode(): part.split(b"\r\n\r\n")[1].rstrip(b"\r\n-").decode()
        for part in post.body.split(post.headers["Content-Type"].split("boundary=")[1].encode())
        if b"name=" in part
    }
    assert sent == {
        "prompt": "a red star", "strength": "0.4", "seed": "7", "model_id": "pocket", "lora_model": "stripes",
        "instant_response": "yes", "init_image": "a cat",
    }  # fmt: skip


def test_url_and_key_may_come_from_the_environment(service: PretendService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_URL", service.url)
    monkeypatch.setenv("DARKROOM_KEY", "from-env")
    result = CliRunner().invoke(app, ["submit", "cat.png", *PROMPT])
    assert result.exit_code == 0
    assert service.of("POST")[0].headers["Authorization"] == "Bearer from-env"


def test_the_key_does_not_travel_to_where_links_lead(service: PretendService) -> None:
    assert submit(service).exit_code == 0
    (download,) = service.of("GET", "/files/")
    assert download.headers["Authorization"] is None


def test_out_names_the_file_or_the_folder_and_several_pictures_get_numbers(
    service: PretendService, folder: Path
) -> None:
    (folder / "made").mkdir()
    assert submit(service, "--out", "made").stdout == f"made/cat-{ID}.png\n"
    links = tuple(f"{service.url}/files/{n}.png" for n in range(2))
    service.events = [[replace(SUCCEEDED, links=links)]]
    assert submit(service, "--out", "made/star.png").stdout == "made/star-0.png\nmade/star-1.png\n"
    assert (folder / "made/star-1.png").read_bytes() == PICTURE


def test_a_job_that_is_done_at_once_is_not_followed(service: PretendService) -> None:
    service.posts = [Says(success(SUCCEEDED, [f"{service.url}/files/0.png"]))]
    assert submit(service).exit_code == 0
    assert service.of("GET", "/events") == []


def test_a_request_whose_answer_got_lost_is_sent_again_under_the_same_idempotency_key(service: PretendService) -> None:
    service.posts = [CUT, NOT_JSON, ACCEPTED]
    assert submit(service).exit_code == 0
    posts = service.of("POST")
    assert len(posts) == 3
    assert len({post.headers["Idempotency-Key"] for post in posts}) == 1
    assert len({post.body.split(b"\r\n", 1)[1].replace(_boundary(post.headers), b"") for post in posts}) == 1


def _boundary(headers: object) -> bytes:
    return str(headers["Content-Type"]).split("boundary=")[1].encode()  # type: ignore[index]


def test_a_stream_that_breaks_is_taken_up_after_the_last_event(service: PretendService) -> None:
    service.events = [[QUEUED, RUNNING, CUT], service.events[0]]
    assert submit(service).exit_code == 0
    seen = [asked.headers["Last-Event-ID"] for asked in service.of("GET", "/events")]
    assert seen == [None, str(RUNNING.version)]
    assert len(service.of("POST")) == 1


def test_a_service_that_starts_again_is_waited_for(service: PretendService) -> None:
    service.events = [[QUEUED, CUT], CUT, NOT_JSON, refusal(RecordsUnavailable()), *service.events]
    with Service(service.url, "abc", NOW_AND_THEN) as client:
        states = [now.status for now in client.follow(ID)]
    assert states == ["queued", "queued", "running", "success"]


def test_a_stream_that_ends_too_early_is_opened_again(service: PretendService) -> None:
    service.events = [[QUEUED], service.events[0]]
    assert submit(service).exit_code == 0
    assert len(service.of("GET", "/events")) == 2


@pytest.mark.parametrize("status", [404, 204])
def test_without_a_stream_of_events_the_job_is_fetched_until_it_is_done(service: PretendService, status: int) -> None:
    service.events = [Says({"status": "error", "message": "Not found"}, status)]
    service.fetches = [Says(processing(replace(RUNNING, eta_s=0.1))), CUT, *service.fetches]
    assert submit(service).exit_code == 0
    assert len(service.of("POST", f"/api/v3/fetch/{ID}")) == 3


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([refusal(InvalidKey())], "Invalid Api Key"),
        (
            [refusal(InvalidFields({"strength": ["The strength may not be greater than 1."], "seed": ["No seed."]}))],
            "The strength may not be greater than 1.\nNo seed.",
        ),
        ([refusal(Overloaded())], "The server is busy, try again later (in 5 s)"),
        ([Says({"status": "error", "message": "Model id not found"}, 200)], "Model id not found"),
        ([Says(posted(FAILED, ())[1], 500)], "Image generation failed"),
        ([Says({"detail": "?"}, 418)], "HTTP 418 from"),
        ([Says({"hello": "world"})], "the reply is not one of Darkroom's"),
    ],
)
def test_a_refusal_is_told_on_stderr_in_the_servers_words(
    service: PretendService, script: list[Scripted], words: str
) -> None:
    service.posts = script
    result = submit(service)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(words)
    assert len(service.of("POST")) == 1


@pytest.mark.parametrize(
    ("end", "words"), [(FAILED, "Image generation failed"), (CANCELLED, "The request was cancelled")]
)
def test_a_job_that_ends_badly_is_told_on_stderr(service: PretendService, end: object, words: str) -> None:
    service.events = [[RUNNING, end]]  # type: ignore[list-item]
    result = submit(service)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].strip() == words


def test_a_job_that_failed_is_told_by_a_fetch_too(service: PretendService) -> None:
    service.events, service.fetches = [refusal(JobNotFound())], [Says(failed(FAILED))]
    assert submit(service).stderr.splitlines()[-1].strip() == "Image generation failed"
    service.fetches = [Says({"status": "failed", "id": "", "message": "Request not found", "output": ""}, 404)]
    assert submit(service).stderr.splitlines()[-1].strip() == "Request not found"


def test_a_key_that_was_revoked_meanwhile_ends_the_wait(service: PretendService) -> None:
    service.events = [[QUEUED, CUT], refusal(InvalidKey())]
    result = submit(service)
    assert (result.exit_code, result.stderr.splitlines()[-1].strip()) == (1, "Invalid Api Key")


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    result = submit(PretendService(url="http://127.0.0.1:9"))
    assert result.exit_code == 1
    assert "http://127.0.0.1:9" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--url", "ftp://host"),
        ("--url", "host"),
        ("--url", "http://host:port"),
        ("--out", "cat.jpg"),
        ("--out", "nowhere/cat.png"),
        ("--field", "lora_model"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_sent(service: PretendService, options: tuple[str, ...]) -> None:
    result = submit(service, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert service.asked == []


def test_a_picture_that_cannot_be_had_is_told(service: PretendService) -> None:
    service.files = [Says({"status": "error", "message": "Not found"}, 404)]
    assert submit(service).stderr.splitlines()[-1].strip() == "Not found"


def test_a_download_that_breaks_is_tried_again(service: PretendService) -> None:
    service.files = [CUT, Says(PICTURE)]
    assert submit(service).exit_code == 0


def test_a_service_that_stays_away_is_given_up(service: PretendService) -> None:
    slept: list[float] = []
    service.events = [[QUEUED, CUT], CUT]
    with Service(service.url, "abc", NOW_AND_THEN, slept.append) as client, pytest.raises(Unreachable):
        list(client.follow(ID))
    assert len(slept) == len(NOW_AND_THEN)


def test_where_nobody_listens_submit_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    told = CliRunner().invoke(
        app,
        ["submit", str(tmp_path / "a.png"), "--prompt", "x", "--url", "http://127.0.0.1:1", "--key", "k"],
    )
    assert told.exit_code == 1
    assert "start the service (`darkroom serve`), or give its URL by --url or DARKROOM_URL" in told.output


def test_streams_that_open_and_say_nothing_are_given_up(service: PretendService) -> None:
    service.events = [[]]
    with Service(service.url, "abc", NOW_AND_THEN) as client, pytest.raises(Unreachable, match="ended before the job"):
        list(client.follow(ID))


def test_a_url_that_is_none_makes_no_service() -> None:
    with pytest.raises(ConfigError):
        Service("127.0.0.1:8000", "abc")


def test_a_cancel_that_is_refused_is_told(service: PretendService) -> None:
    service.deletes = [refusal(JobNotFound())]
    with Service(service.url, "abc", NOW_AND_THEN) as client, pytest.raises(Refused, match="Request not found"):
        client.cancel(ID)


@pytest.mark.parametrize(
    ("deletes", "words"),
    [
        ([Says({}, 202)], f"job {ID} was cancelled"),
        ([refusal(JobNotFound())], f"job {ID} could not be cancelled: Request not found"),
    ],
)
def test_ctrl_c_cancels_the_job(service: PretendService, folder: Path, deletes: list[Scripted], words: str) -> None:
    service.events, service.deletes = [[RUNNING, HOLD]], deletes
    command = ["submit", "cat.png", *PROMPT, "--url", service.url, "--key", "abc"]
    child = subprocess.Popen(
        [sys.executable, "-m", "serve_app.cli", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )
    try:
        assert service.streaming.wait(60)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=900)
    finally:
        child.kill()
    assert (child.returncode, stdout, stderr.splitlines()[-1].strip()) == (130, "", words)
    assert [asked.path for asked in service.of("DELETE")] == [f"/v1/jobs/{ID}"]
