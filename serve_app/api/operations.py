"""The operations of the OpenAPI document: what each path takes and what it may answer."""

from serve_app.api import events, idempotency, routes
from serve_app.api.answer_schemas import STRING
from serve_app.api.contents import JSON, body, content, errors, ok
from serve_app.api.kinds import Schema
from serve_app.api.problems import TABLE
from serve_app.api.server_timing import HEADER as SERVER_TIMING
from serve_app.errors import JobNotFound

KEY_WAYS: list[dict[str, list[str]]] = [{"bearer": []}, {"key_header": []}, {}]
"""A bearer token, a header, or none of both, which leaves the body."""
TIMING: Schema = {
    SERVER_TIMING: {
        "description": "Where the time went, in milliseconds by stage; where the job ended while the request waited.",
        "schema": STRING,
    }
}
STATUSES = sorted({status for status, _ in TABLE.values()} - {403, 405})
"""What any POST may fail with: 403 is for pictures, and another method than the described one for nobody."""
BODY_STATUSES = [400, 401, 413]
LINK_PARTS = ("expires", "signature")
LINK_PART = "Part of the links of jobs with temp."
FINISHED = ("Success", "Processing")
MAIN = "/api/v4/dreambooth"
"""The address that the documentation shows first; the others are the same handlers."""
MAKE, FETCH, CATALOGUE, JOBS, SERVICE, ALIASES = "Make", "Fetch", "Catalogue", "Jobs", "Service", "Aliases"
TAGS: dict[str, str] = {
    MAKE: "A picture and a prompt in, pictures out.",
    FETCH: "What became of a job that was not done while its request waited.",
    CATALOGUE: "What a request can choose from.",
    JOBS: "A job as a resource: progress, cancelling, events.",
    SERVICE: "The pictures, the queue and the service's health.",
    ALIASES: "The same under the hosted API's other addresses, for the clients that use them.",
}


def paths() -> dict[str, object]:
    """Every path with its operations by method."""
    listed = "The catalogue as the hosted API lists it: a bare array, every value a string."
    return {
        **{path: {"post": _img2img(path, model_required=needs)} for path, needs in routes.IMG2IMG_PATHS.items()},
        **{path: {"post": _fetch_by_body(path)} for path in routes.FETCH_PATHS},
        **{path: {"post": _fetch(path, "post"), "get": _fetch(path, "get")} for path in routes.FETCH_ID_PATHS},
        **{
            path: {"post": _post(path, CATALOGUE, "The catalogue", listed, "KeyOnly", "ModelList")}
            for path in routes.MODEL_LIST_PATHS
        },
        routes.SCHEDULERS_PATH: {"post": _schedulers()},
        routes.SYSTEM_LOAD_PATH: {"post": _system_load()},
        routes.JOB_PATH: {"get": _job(), "delete": _cancel()},
        routes.JOB_EVENTS_PATH: {"get": _events()},
        routes.JOB_TICKET_PATH: {"post": _ticket()},
        routes.MODELS_PATH: {"get": _models()},
        routes.MODEL_PATH: {"get": _model()},
        routes.HEALTH_PATH: {"get": _health()},
        routes.READY_PATH: {"get": _ready()},
        f"{routes.FILES_PATH}/{{name}}": {"get": _file()},
    }


def webhooks() -> dict[str, object]:
    """What the server itself sends: one POST for each job that has ended and had a webhook."""
    operation = {
        "operationId": "job_ended",
        "tags": [JOBS],
        "summary": "A job has ended",
        "description": "Sent to the request's webhook, and again until it is answered with 2xx: ten times in 3.5 days.",
        "security": [],
        "parameters": [
            _header("webhook-id", "The same in every attempt.", required=True),
            _header("webhook-timestamp", "Seconds since 1970.", required=True),
            _header("webhook-signature", "After the Standard Webhooks specification.", required=True),
        ],
        "requestBody": {"content": {JSON: content("WebhookSuccess", "WebhookFailure")}},
        "responses": {
            "2XX": {"description": "Received. Anything else is tried again."},
            "410": {"description": "Never again."},
        },
    }
    return {"job_ended": {"post": operation}}


def _img2img(path: str, *, model_required: bool) -> Schema:
    request = "Img2ImgRequest" if model_required else "DefaultModelRequest"
    about = (
        "Answers with the pictures where they are there within the service's sync window, else with `processing`: "
        "fetch the job then, or ask for its future links until they are there. The job is written down before it "
        "starts: a client that hangs up loses nothing."
    )
    return {
        **_post(path, MAKE, "Make pictures from a picture and a prompt", about, request, *FINISHED),
        "parameters": [
            _header(
                idempotency.HEADER,
                "Any text of the client's own, kept for 24 hours. The same one with the same fields is the same job, "
                "and starts no other.",
            )
        ],
        "responses": {**ok(*FINISHED, headers=TIMING), **errors(STATUSES)},
    }


RESULT = "The result of a job"
RESULT_ABOUT = "Never starts a job, whatever the body holds. A job is fetched under any address, whichever made it."


def _fetch_by_body(path: str) -> Schema:
    told = _post(path, FETCH, RESULT, f"{RESULT_ABOUT} The id stands in the body.", "FetchRequest", *FINISHED)
    return {**told, "responses": _fetched()}


def _fetch(path: str, method: str) -> Schema:
    operation: Schema = {
        "operationId": f"{method}_{_operation_id(path)}",
        "tags": [_tag(path, FETCH)],
        "summary": RESULT,
        "description": RESULT_ABOUT,
        "security": KEY_WAYS,
        "parameters": [_job_id()],
        "responses": _fetched(),
    }
    return operation if method == "get" else {**operation, "requestBody": body("KeyOnly", required=False)}


def _fetched() -> dict[str, object]:
    unknown = {"description": TABLE[JobNotFound][1], "content": {JSON: content("UnknownJob")}}
    return {**ok(*FINISHED, "Failed"), **errors([*BODY_STATUSES, 503]), "404": unknown}


def _post(path: str, tag: str, summary: str, about: str, request: str, *answers: str) -> Schema:
    return {
        "operationId": _operation_id(path),
        "tags": [_tag(path, tag)],
        "summary": summary,
        "description": about,
        "security": KEY_WAYS,
        "requestBody": body(request, required=request != "KeyOnly"),
        "responses": {**ok(*answers), **errors(BODY_STATUSES)},
    }


def _schedulers() -> Schema:
    about = "What `scheduler` may be; leave it out for the model's own."
    return _post(routes.SCHEDULERS_PATH, CATALOGUE, "The names of the schedulers", about, "KeyOnly", "Schedulers")


def _system_load() -> Schema:
    about = "Of all models together."
    told = _post(routes.SYSTEM_LOAD_PATH, SERVICE, "How much is waiting", about, "KeyOnly", "SystemLoad")
    return {**told, "responses": {**ok("SystemLoad"), **errors([*BODY_STATUSES, 503])}}


def _job() -> Schema:
    return {
        "operationId": "job",
        "tags": [JOBS],
        "summary": "A job: how far it is, and what came of it",
        "description": "Only for the key that made it.",
        "security": KEY_WAYS[:2],
        "parameters": [_job_id()],
        "responses": {**ok("Job"), **errors([401, 404, 503])},
    }


def _cancel() -> Schema:
    asked = {"description": "It ends within two seconds.", "content": {JSON: content("Job")}}
    return {
        **_job(),
        "operationId": "cancel_job",
        "summary": "Cancel a job",
        "description": "One that has ended stays as it is.",
        "responses": {**ok("Job"), "202": asked, **errors([401, 404, 503])},
    }


def _events() -> Schema:
    stream = {
        "description": "Events progress, preview, success, failed and cancelled; the schema is that of one's data.",
        "content": {events.EVENT_STREAM: content("JobEvent")},
    }
    return {
        **_job(),
        "operationId": "job_events",
        "summary": "A job's progress and previews as server-sent events, up to its end",
        "description": "An event tells the state of now under its version; who comes back is told what is newer.",
        "security": [*KEY_WAYS[:2], {"ticket": []}],
        "parameters": [_job_id(), _header("Last-Event-ID", "The last event seen; what is newer follows.")],
        "responses": {
            "200": stream,
            "204": {"description": "It has ended, and its last event was seen."},
            **errors([401, 404, 503]),
        },
    }


def _ticket() -> Schema:
    return {
        **_job(),
        "operationId": "job_ticket",
        "summary": "A URL that opens the job's events without a key for five minutes",
        "description": "For a browser's EventSource, which cannot send headers.",
        "security": KEY_WAYS,
        "requestBody": body("KeyOnly", required=False),
        "responses": {**ok("Ticket"), **errors([*BODY_STATUSES, 404, 503])},
    }


def _models() -> Schema:
    return {
        "operationId": "models",
        "tags": [CATALOGUE],
        "summary": "The catalogue, with each model's VAEs, LoRAs and textual inversions",
        "description": "`data` is the same as OpenAI's clients list it.",
        "security": KEY_WAYS[:2],
        "responses": {**ok("Models"), **errors([401])},
    }


def _model() -> Schema:
    name = {"name": "id", "in": "path", "required": True, "description": "The model's id.", "schema": STRING}
    return {
        "operationId": "model",
        "tags": [CATALOGUE],
        "summary": "One model of the catalogue",
        "description": "As OpenAI's clients read it.",
        "security": KEY_WAYS[:2],
        "parameters": [name],
        "responses": {**ok("Model"), **errors([401, 404])},
    }


def _health() -> Schema:
    return {
        "operationId": "healthz",
        "summary": "Whether the process lives, be it ready or not",
        "tags": [SERVICE],
        "description": "Needs no key.",
        "security": [],
        "responses": {**ok("Health"), **errors([503])},
    }


def _ready() -> Schema:
    told = {"200": "Jobs can be taken.", "503": "Not yet, or not now: `missing` names the parts that do not answer."}
    return {
        "operationId": "readyz",
        "tags": [SERVICE],
        "summary": "Whether records, store, postprocess and each model answer",
        "description": "Needs no key.",
        "security": [],
        "responses": {
            status: {"description": text, "content": {JSON: content("Readiness")}} for status, text in told.items()
        },
    }


def _file() -> Schema:
    name = {"name": "name", "in": "path", "required": True, "description": "<uuid>-<n>.png", "schema": STRING}
    return {
        "operationId": "file",
        "tags": [SERVICE],
        "summary": "A finished picture",
        "description": "404 until it is there. Needs no key: whoever has the link may follow it.",
        "security": [],
        "parameters": [
            name,
            *({"name": part, "in": "query", "description": LINK_PART, "schema": STRING} for part in LINK_PARTS),
        ],
        "responses": {
            "200": {"description": "The picture.", "content": {"image/png": {}}},
            "304": {"description": "The client has it, as its If-None-Match says."},
            **errors([403, 404, 503]),
        },
    }


def _tag(path: str, own: str) -> str:
    """The addresses beside the main one stand together at the end."""
    return ALIASES if own in (MAKE, FETCH) and not path.startswith(f"{MAIN}/") else own


def _operation_id(path: str) -> str:
    return path.removeprefix("/api/").replace("/", "_").replace("-", "_").replace("{id}", "by_id")


def _job_id() -> Schema:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The job's id.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    }


def _header(name: str, about: str, *, required: bool = False) -> Schema:
    return {"name": name, "in": "header", "required": required, "description": about, "schema": STRING}
