"""The operations of the OpenAPI document: what each path takes and what it may answer."""

from serve_app.api import events, idempotency, routes
from serve_app.api.answer_schemas import STRING
from serve_app.api.body import FORM, MULTIPART
from serve_app.api.kinds import Schema
from serve_app.api.problems import TABLE
from serve_app.api.server_timing import HEADER as SERVER_TIMING
from serve_app.errors import JobNotFound

JSON = "application/json"
BODY_TYPES = (JSON, FORM, MULTIPART)
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


def paths() -> dict[str, object]:
    """Every path with its operations by method."""
    return {
        **{path: {"post": _img2img(path, model_required=needs)} for path, needs in routes.IMG2IMG_PATHS.items()},
        **{path: {"post": _fetch_by_body(path)} for path in routes.FETCH_PATHS},
        **{path: {"post": _fetch(path, "post"), "get": _fetch(path, "get")} for path in routes.FETCH_ID_PATHS},
        **{path: {"post": _post(path, "The catalogue", "KeyOnly", "ModelList")} for path in routes.MODEL_LIST_PATHS},
        routes.SCHEDULERS_PATH: {
            "post": _post(routes.SCHEDULERS_PATH, "The names of the schedulers", "KeyOnly", "Schedulers")
        },
        routes.SYSTEM_LOAD_PATH: {
            "post": _post(routes.SYSTEM_LOAD_PATH, "How much is waiting", "KeyOnly", "SystemLoad", [503])
        },
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
        "summary": "A job has ended",
        "security": [],
        "parameters": [
            _header("webhook-id", "The same in every attempt.", required=True),
            _header("webhook-timestamp", "Seconds since 1970.", required=True),
            _header("webhook-signature", "After the Standard Webhooks specification.", required=True),
        ],
        "requestBody": {"content": {JSON: {"schema": _any_of("WebhookSuccess", "WebhookFailure")}}},
        "responses": {
            "2XX": {"description": "Received. Anything else is tried again."},
            "410": {"description": "Never again."},
        },
    }
    return {"job_ended": {"post": operation}}


def _img2img(path: str, *, model_required: bool) -> Schema:
    request = "Img2ImgRequest" if model_required else "DefaultModelRequest"
    return {
        **_post(path, "Make pictures from a picture and a prompt", request, "Success"),
        "parameters": [
            _header(
                idempotency.HEADER,
                "Any text of the client's own, kept for 24 hours. The same one with the same fields is the same job, "
                "and starts no other.",
            )
        ],
        "responses": {**_ok(_any_of(*FINISHED), TIMING), **_errors(STATUSES)},
    }


def _fetch_by_body(path: str) -> Schema:
    return {**_post(path, "The result of a job", "FetchRequest", "Success"), "responses": _fetched()}


def _fetch(path: str, method: str) -> Schema:
    operation: Schema = {
        "operationId": f"{method}_{_operation_id(path)}",
        "summary": "The result of a job",
        "security": KEY_WAYS,
        "parameters": [_job_id()],
        "responses": _fetched(),
    }
    return operation if method == "get" else {**operation, "requestBody": _body("KeyOnly", required=False)}


def _fetched() -> dict[str, object]:
    unknown = {"description": TABLE[JobNotFound][1], "content": {JSON: {"schema": _ref("UnknownJob")}}}
    return {**_ok(_any_of(*FINISHED, "Failed")), **_errors([*BODY_STATUSES, 503]), "404": unknown}


def _post(path: str, summary: str, request: str, answer: str, also: list[int] | None = None) -> Schema:
    return {
        "operationId": _operation_id(path),
        "summary": summary,
        "security": KEY_WAYS,
        "requestBody": _body(request, required=request != "KeyOnly"),
        "responses": {**_ok(_ref(answer)), **_errors([*BODY_STATUSES, *(also or [])])},
    }


def _job() -> Schema:
    return {
        "operationId": "job",
        "summary": "A job: how far it is, and what came of it",
        "security": KEY_WAYS[:2],
        "parameters": [_job_id()],
        "responses": {**_ok(_ref("Job")), **_errors([401, 404, 503])},
    }


def _cancel() -> Schema:
    asked = {"description": "It ends within two seconds.", "content": {JSON: {"schema": _ref("Job")}}}
    return {
        **_job(),
        "operationId": "cancel_job",
        "summary": "Cancel a job; one that has ended stays as it is",
        "responses": {**_ok(_ref("Job")), "202": asked, **_errors([401, 404, 503])},
    }


def _events() -> Schema:
    stream = {
        "description": "Events progress, preview, success, failed and cancelled; the schema is that of one's data.",
        "content": {events.EVENT_STREAM: {"schema": _ref("JobEvent")}},
    }
    return {
        **_job(),
        "operationId": "job_events",
        "summary": "A job's progress and previews as server-sent events, up to its end",
        "security": [*KEY_WAYS[:2], {"ticket": []}],
        "parameters": [_job_id(), _header("Last-Event-ID", "The last event seen; what is newer follows.")],
        "responses": {
            "200": stream,
            "204": {"description": "It has ended, and its last event was seen."},
            **_errors([401, 404, 503]),
        },
    }


def _ticket() -> Schema:
    return {
        **_job(),
        "operationId": "job_ticket",
        "summary": "A ticket that opens the job's events without a key for five minutes",
        "security": KEY_WAYS,
        "requestBody": _body("KeyOnly", required=False),
        "responses": {**_ok(_ref("Ticket")), **_errors([*BODY_STATUSES, 404, 503])},
    }


def _models() -> Schema:
    return {
        "operationId": "models",
        "summary": "The catalogue, with each model's VAEs, LoRAs and textual inversions",
        "security": KEY_WAYS[:2],
        "responses": {**_ok(_ref("Models")), **_errors([401])},
    }


def _model() -> Schema:
    name = {"name": "id", "in": "path", "required": True, "description": "The model's id.", "schema": STRING}
    return {
        "operationId": "model",
        "summary": "One model of the catalogue, as OpenAI's clients read it",
        "security": KEY_WAYS[:2],
        "parameters": [name],
        "responses": {**_ok(_ref("Model")), **_errors([401, 404])},
    }


def _health() -> Schema:
    return {
        "operationId": "healthz",
        "summary": "Whether the process lives, be it ready or not",
        "security": [],
        "responses": {"200": {"description": "It is up."}, **_errors([503])},
    }


def _ready() -> Schema:
    told = {"200": "Jobs can be taken.", "503": "Not yet, or not now: `missing` names the parts that do not answer."}
    return {
        "operationId": "readyz",
        "summary": "Whether records, store, postprocess and each model answer",
        "security": [],
        "responses": {
            status: {"description": text, "content": {JSON: {"schema": _ref("Readiness")}}}
            for status, text in told.items()
        },
    }


def _file() -> Schema:
    return {
        "operationId": "file",
        "summary": "A finished picture",
        "security": [],
        "parameters": [
            {"name": "name", "in": "path", "required": True, "schema": STRING},
            *({"name": name, "in": "query", "description": LINK_PART, "schema": STRING} for name in LINK_PARTS),
        ],
        "responses": {
            "200": {"description": "The picture.", "content": {"image/png": {}}},
            **_errors([403, 404, 503]),
        },
    }


def _operation_id(path: str) -> str:
    return path.removeprefix("/api/").replace("/", "_").replace("{id}", "by_id")


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


def _body(request: str, *, required: bool) -> Schema:
    return {"required": required, "content": {kind: {"schema": _ref(request)} for kind in BODY_TYPES}}


def _ok(answer: Schema, headers: Schema | None = None) -> dict[str, object]:
    told = {"description": "Done.", "content": {JSON: {"schema": answer}}}
    return {"200": told if headers is None else {**told, "headers": headers}}


def _errors(statuses: list[int]) -> dict[str, object]:
    return {
        str(status): {"description": _texts(status), "content": {JSON: {"schema": _ref("Error")}}}
        for status in statuses
    }


def _texts(status: int) -> str:
    return " · ".join(dict.fromkeys(text for other, text in TABLE.values() if other == status))


def _any_of(*names: str) -> Schema:
    return {"anyOf": [_ref(name) for name in names]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
