"""The HTTP side: reads and checks a request, has its job written down, waits a while, answers.

Keeps nothing but the jobs that it drives, and these are in the records too.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.records import Parts
from serve_app.access.admission import Admission
from serve_app.access.keys import KeyRing, ensure_first_key
from serve_app.access.link_secret import link_secret
from serve_app.api import answers, events, pages, routes
from serve_app.api.application import Application
from serve_app.api.body import presented_key, read_body
from serve_app.api.caching import kept_response
from serve_app.api.fetching import fetch_id, parse_fetch_id
from serve_app.api.gate import Gate, OwnJudge, Rules, return_large_blocks
from serve_app.api.idempotency import HEADER, idempotency_of
from serve_app.api.job_resource import cancel_status, job_resource, ticket_answer
from serve_app.api.links import Links
from serve_app.api.problems import HttpAnswer, fetch_problem, problem, text_of
from serve_app.api.server_timing import HEADER as SERVER_TIMING
from serve_app.api.server_timing import server_timing
from serve_app.api.site import Site
from serve_app.api.tickets import PARAMETER, Tickets
from serve_app.api.wire import Img2ImgRequest, check_against, parse_img2img
from serve_app.config import AppConfig, ModelEntry
from serve_app.errors import DarkroomError, JobNotFound, MethodNotAllowed, ModelNotFound, RouteNotFound
from serve_app.messages import cache_control
from serve_app.postprocess.storage import S3Store, answers_at_all
from serve_app.records.jobs import Idempotency, JobRecord, JobRecords
from serve_app.records.outbox import Outbox
from serve_app.service.accepting import Accepter, Caller, GivenPictures
from serve_app.service.lines import Refusals, told_of
from serve_app.service.own_pictures import OwnPictures
from serve_app.service.readiness import Check, Readiness
from serve_app.service.stopwatch import Stage, Stopwatch
from serve_app.service.watching import Watcher

Endpoint = Callable[[Request], Awaitable[Response]]


class Ingress:
    """Routes requests to one deployment per model. Any number of replicas may run."""

    def __init__(
        self,
        config: AppConfig,
        models: dict[str, DeploymentHandle],
        postprocess: DeploymentHandle,
        courier: DeploymentHandle,
    ) -> None:
        del courier  # bound here so that it runs; it finds its work in the records
        return_large_blocks()
        self._config = config
        self._catalogue = {entry.id: entry for entry in config.catalogue}
        if (key := ensure_first_key(config.auth, config.storage.data_path)) is not None:
            print(f"darkroom: your key is {key} (shown this once; only its hash is kept)", flush=True)
        self._keys = KeyRing(config.auth, config.storage.data_path)
        self._parts = parts = Parts(config, models, postprocess)
        self._records = JobRecords(parts.database)
        outbox = Outbox(parts.database)
        self._readiness = Readiness(self._parts_asked())
        self._watcher = Watcher(self._records, outbox, parts.store, self._catalogue, parts.driver)

    def __serve_build_asgi_app__(self) -> Application:
        """What `serve.ingress()` asks for: the ASGI application, made on the replica."""
        served = ((path, tuple(methods)) for path, _, methods in self._table())
        refusals = self._refusals = Refusals()
        judge = OwnJudge(Rules.of(self._config.api, served), self._keys.verify)
        return Application(
            self._config.api.cors_origins,
            routes=[Route(path, endpoint, methods=methods) for path, endpoint, methods in self._table()],
            middleware=[Middleware(Gate, judge=judge, refused=partial(told_of, refusals))],
            exception_handlers={
                DarkroomError: self._tell,
                HTTPException: self._tell_http,
                Exception: self._tell_unknown,
            },
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Application) -> AsyncIterator[None]:
        """On the replica's event loop: what needs one, and jobs given back at the end."""
        parts, config = self._parts, self._config
        secret = await link_secret(parts.database)
        self._tickets = Tickets(secret)
        presign = parts.store.presigned_links if isinstance(parts.store, S3Store) else None
        self._links = Links(config.storage, secret, presign)
        own = OwnPictures(config, self._records, parts.store)
        pictures, admission = GivenPictures(config, own), Admission(parts.database, config.api.max_waiting_jobs)
        self._accepter = Accepter(config, pictures, admission, self._records, self._links, parts.driver)
        parts.driver.start()
        yield
        await pictures.close()
        await parts.close()

    def _parts_asked(self) -> dict[str, Check]:
        """What has to answer before jobs can be taken, by the names that `/readyz` tells."""
        parts = self._parts
        models = {f"model {id}": partial(parts.replicas.model_answers, id) for id in self._catalogue}
        return {
            "records": partial(self._records.get, 0),
            "store": partial(answers_at_all, parts.store),
            **models,
            "postprocess": parts.replicas.postprocess_answers,
        }

    def check_health(self) -> None:
        """Ray's health check: leases are renewed."""
        if not self._parts.driver.alive:
            raise RuntimeError("the driver makes no rounds")

    def _table(self) -> list[tuple[str, Endpoint, list[str]]]:
        post, get = ["POST"], ["GET"]
        img2img = routes.IMG2IMG_PATHS.items()
        return [
            *((path, partial(self._img2img, model_required=needs), post) for path, needs in img2img),
            *((path, self._fetch, post) for path in routes.FETCH_PATHS),
            *((path, self._fetch, ["GET", "POST"]) for path in routes.FETCH_ID_PATHS),
            *((path, self._model_list, post) for path in routes.MODEL_LIST_PATHS),
            (routes.SCHEDULERS_PATH, self._schedulers_list, post),
            (routes.SYSTEM_LOAD_PATH, self._system_load, post),
            (routes.JOB_PATH, self._job, ["GET", "DELETE"]),
            (routes.JOB_EVENTS_PATH, self._events, get),
            (routes.JOB_TICKET_PATH, self._ticket, post),
            (routes.MODELS_PATH, self._models, get),
            (routes.MODEL_PATH, self._model, get),
            (routes.HEALTH_PATH, self._healthz, get),
            (routes.READY_PATH, self._readyz, get),
            (routes.FILES_PATH + "/{name:path}", self._file, get),
            *Site(self._config.catalogue, self._base_url).table(),
        ]

    async def _img2img(self, request: Request, model_required: bool) -> Response:
        api, watch = self._config.api, Stopwatch()
        asked, entry, caller = await self._asked(request, model_required)
        watch.lap(Stage.READ)
        record = await self._accepter.accept(asked, entry, caller)
        watch.lap(Stage.ACCEPT)
        seen = await self._watcher.awaited(record, 0.0 if asked.instant_response else api.sync_timeout_s)
        response = _answer(answers.posted(seen.view, seen.outputs, errors_as_200=api.errors_as_200))
        watch.lap(Stage.ANSWER)
        if seen.laps:
            watch.carve(seen.laps, Stage.ANSWER, Stage.ACCEPT)
            response.headers[SERVER_TIMING] = server_timing(watch.laps)
        return response

    async def _asked(self, request: Request, model_required: bool) -> tuple[Img2ImgRequest, ModelEntry, Caller]:
        body = await read_body(request, self._config.api.max_body_bytes)
        key = self._keys.verify(presented_key(request, body))
        asked = parse_img2img(body, model_required=model_required)
        entry = self._entry(asked.model_id)
        check_against(asked, entry)
        repeated = idempotency_of(request.headers.get(HEADER), body)
        idempotency = None if repeated is None else Idempotency(*repeated)
        return asked, entry, Caller(key.name, self._base_url(request), request.url.path, idempotency)

    async def _fetch(self, request: Request) -> Response:
        body = await read_body(request, self._config.api.max_body_bytes) if request.method == "POST" else {}
        try:
            key_name = self._fetching_key(presented_key(request, body))
            record = await self._watcher.find(fetch_id(request.path_params.get("id"), body), key_name)
        except JobNotFound as error:
            return _answer(fetch_problem(error, errors_as_200=self._config.api.errors_as_200))
        seen = await self._watcher.seen(record)
        return JSONResponse(answers.fetched(seen.view, seen.outputs))

    def _fetching_key(self, key: str | None) -> str | None:
        """Whose jobs may be fetched; None: anybody's."""
        return None if self._config.api.keyless_fetch else self._keys.verify(key).name

    async def _system_load(self, request: Request) -> Response:
        await self._known_client(request)
        load = await self._watcher.load()
        return JSONResponse(answers.system_load(load.queue_num, load.queue_time))

    async def _job(self, request: Request) -> Response:
        record = await self._own_job(request)
        cancels = request.method == "DELETE"
        if cancels:
            record = await self._records.ask_cancel(record.id) or record
        view = await self._watcher.view(record)
        return JSONResponse(job_resource(view, self._base_url(request)), cancel_status(view) if cancels else 200)

    async def _events(self, request: Request) -> Response:
        record = await self._watched_job(request)
        last_seen = events.last_event_id(request.headers.get("last-event-id"))
        if events.is_over(await self._watcher.view(record), last_seen):
            return Response(status_code=204)
        stream = self._watcher.events(record, last_seen)
        return StreamingResponse(stream, media_type=events.EVENT_STREAM, headers=events.HEADERS)

    async def _watched_job(self, request: Request) -> JobRecord:
        ticket = request.query_params.get(PARAMETER)
        if ticket is None:
            return await self._own_job(request)
        id = parse_fetch_id(request.path_params["id"])
        self._tickets.check(ticket, id, time.time())
        return await self._watcher.find(id, None)

    async def _ticket(self, request: Request) -> Response:
        body = await read_body(request, self._config.api.max_body_bytes)
        key = self._keys.verify(presented_key(request, body))
        record = await self._watcher.find(parse_fetch_id(request.path_params["id"]), key.name)
        ticket, expires = self._tickets.make(record.id, time.time())
        return JSONResponse(ticket_answer(ticket, expires, self._base_url(request), record.id))

    async def _own_job(self, request: Request) -> JobRecord:
        key = self._keys.verify(presented_key(request, {}))
        return await self._watcher.find(parse_fetch_id(request.path_params["id"]), key.name)

    def _entry(self, model_id: str | None) -> ModelEntry:
        entry = self._catalogue.get(model_id or self._config.default_model_id)
        if entry is None:
            raise ModelNotFound(model_id or "")
        return entry

    def _base_url(self, request: Request) -> str:
        return self._config.api.public_url or str(request.base_url)

    async def _known_client(self, request: Request) -> None:
        body = await read_body(request, self._config.api.max_body_bytes)
        self._keys.verify(presented_key(request, body))

    async def _model_list(self, request: Request) -> Response:
        await self._known_client(request)
        return JSONResponse(answers.model_list(self._config.catalogue))

    async def _schedulers_list(self, request: Request) -> Response:
        await self._known_client(request)
        return JSONResponse(answers.schedulers_list())

    async def _models(self, request: Request) -> Response:
        self._keys.verify(presented_key(request, {}))
        return JSONResponse(answers.models(self._config.catalogue))

    async def _model(self, request: Request) -> Response:
        self._keys.verify(presented_key(request, {}))
        return JSONResponse(answers.openai_model(self._entry(request.path_params["id"])))

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._links.check(name, request.query_params, time.time())
        file = await self._parts.store.get(name)
        seen = request.headers.get("if-none-match")
        return kept_response(file.data, file.content_type, cache_control(name), seen)

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        return _answer(answers.readiness(await self._readiness.missing()))

    async def _tell(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, DarkroomError)
        # Who polls a picture's link takes 200 for the picture, in every mode.
        is_link = request.url.path.startswith(routes.FILES_PATH + "/")
        if not (is_link and isinstance(error, RouteNotFound)):  # many poll a link until its picture is there
            told_of(self._refusals, request.scope, error)
        told = problem(error, errors_as_200=self._config.api.errors_as_200 and not is_link)
        if pages.wants_page(request.method, request.url.path, request.headers.get("accept", "")):
            status, _, headers = told
            return HTMLResponse(pages.refused(status, text_of(error)), status, {**pages.PLAIN_HEADERS, **headers})
        return _answer(told)

    async def _tell_http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": f"{(error.headers or {})['Allow']}, OPTIONS"})
        ours = MethodNotAllowed() if error.status_code == 405 else RouteNotFound(request.url.path)
        response = await self._tell(request, ours)
        response.headers.update(error.headers or {})  # Allow, on 405
        return response

    async def _tell_unknown(self, request: Request, error: Exception) -> Response:
        """The last handler; Starlette raises the error again behind it, so that Serve logs it."""
        return await self._tell(request, DarkroomError(f"{type(error).__name__}: {error}"))


def _answer(told: HttpAnswer) -> JSONResponse:
    status, body, headers = told
    return JSONResponse(body, status, headers)
