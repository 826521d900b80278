"""The HTTP side: reads and checks a request, drives its job, answers. Keeps no state of its own."""

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from deployments.driver import Driver
from deployments.events import Finished
from serve_app.api import answers, pages, routes
from serve_app.api.body import presented_key, read_body
from serve_app.api.problems import problem
from serve_app.api.schema import openapi
from serve_app.api.wire import Img2ImgRequest, check_against, parse_img2img
from serve_app.config import AppConfig, ModelEntry
from serve_app.errors import DarkroomError, MethodNotAllowed, ModelNotFound, RouteNotFound
from serve_app.inputs.decode import ImageDecoder, decode_base64, looks_like_url
from serve_app.inputs.fetch import ImageFetcher
from serve_app.inputs.fit import cover_crop, target_size
from serve_app.jobs.keys import KeyRing, ensure_first_key
from serve_app.messages import FinishOrder, Img2ImgJob, Pixels, SamplerChoice
from serve_app.postprocess.storage import LocalStore
from serve_app.prompts.enhance import enhance

LARGEST_ID = 2**31 - 1
"""Clients decode ids as 32-bit integers."""
FOREVER = "public, max-age=31536000, immutable"
Endpoint = Callable[[Request], Awaitable[Response]]


class Ingress:
    """Routes requests to one deployment per model. Any number of replicas may run."""

    def __init__(self, config: AppConfig, models: dict[str, DeploymentHandle], postprocess: DeploymentHandle) -> None:
        self._config = config
        self._catalogue = {entry.id: entry for entry in config.catalogue}
        self._driver = Driver(models, postprocess, config.api.job_deadline_s)
        if (key := ensure_first_key(config.auth, config.storage.data_path)) is not None:
            print(f"darkroom: your key is {key} (shown this once; only its hash is kept)", flush=True)
        self._keys = KeyRing(config.auth, config.storage.data_path)
        self._fetcher = ImageFetcher(config.inputs)
        self._decoder = ImageDecoder(config.inputs)
        self._store = LocalStore(config.storage.pictures_path)

    def __serve_build_asgi_app__(self) -> Starlette:
        """What `serve.ingress()` asks for: the ASGI application, made on the replica."""
        table: list[tuple[str, Endpoint, str]] = [
            *(
                (path, partial(self._img2img, model_required=needs), "POST")
                for path, needs in routes.IMG2IMG_PATHS.items()
            ),
            *((path, self._model_list, "POST") for path in routes.MODEL_LIST_PATHS),
            (routes.SCHEDULERS_PATH, self._schedulers_list, "POST"),
            (routes.MODELS_PATH, self._models, "GET"),
            (routes.HEALTH_PATH, self._healthz, "GET"),
            (routes.FILES_PATH + "/{name}", self._file, "GET"),
            ("/openapi.json", self._openapi, "GET"),
            ("/docs", self._docs, "GET"),
            ("/", self._home, "GET"),
        ]
        return Starlette(
            routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in table],
            exception_handlers={
                DarkroomError: self._tell,
                HTTPException: self._tell_http,
                Exception: self._tell_unknown,
            },
        )

    async def _img2img(self, request: Request, model_required: bool) -> Response:
        body = await read_body(request, self._config.api.max_body_bytes)
        self._keys.verify(presented_key(request, body))
        asked = parse_img2img(body, model_required=model_required)
        entry = self._entry(asked.model_id)
        check_against(asked, entry)
        job = build_job(asked, entry, await self._picture(asked))
        prefix = str(uuid.uuid4())
        finished, images = await self._driver.run(job, partial(_order, asked, job, prefix))
        outputs = [image.base64 or image.name for image in images]
        made = answers.Made(
            id=job.id,
            file_prefix=prefix,
            used=_used(job, finished),
            seconds=finished.seconds,
            outputs=tuple(outputs if asked.base64 else answers.image_links(self._base_url(request), outputs)),
            flagged=any(image.flagged for image in images),
        )
        return JSONResponse(answers.success(asked, made))

    async def _picture(self, asked: Img2ImgRequest) -> Pixels:
        """The init image at the job's size."""
        source = asked.init_image
        if isinstance(source, str):
            source = await self._fetcher.fetch(source) if looks_like_url(source) else decode_base64(source)
        pixels = await self._decoder.decode(source)
        height, width = pixels.shape[:2]
        size = target_size(width, height, asked.width, asked.height)
        return await asyncio.to_thread(cover_crop, pixels, *size)

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

    async def _file(self, request: Request) -> Response:
        file = await self._store.get(request.path_params["name"])
        return Response(file.data, media_type=file.content_type, headers={"Cache-Control": FOREVER})

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(openapi())

    async def _docs(self, _: Request) -> Response:
        return HTMLResponse(pages.docs(openapi()))

    async def _home(self, _: Request) -> Response:
        return HTMLResponse(pages.home(self._config.catalogue))

    async def _tell(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, DarkroomError)
        status, body, headers = problem(error, errors_as_200=self._config.api.errors_as_200)
        return JSONResponse(body, status, headers)

    async def _tell_http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        ours = MethodNotAllowed() if error.status_code == 405 else RouteNotFound(request.url.path)
        response = await self._tell(request, ours)
        response.headers.update(error.headers or {})  # Allow, on 405
        return response

    async def _tell_unknown(self, request: Request, error: Exception) -> Response:
        """The last handler; Starlette raises the error again behind it, so that Serve logs it."""
        return await self._tell(request, DarkroomError(f"{type(error).__name__}: {error}"))


def build_job(asked: Img2ImgRequest, entry: ModelEntry, picture: Pixels) -> Img2ImgJob:
    """A request and its picture as a job with an id, a seed and the prompts that are really used."""
    prompts = asked.prompt, asked.negative_prompt
    prompt, negative = enhance(*prompts, entry.enhancement) if asked.enhance_prompt else prompts
    return Img2ImgJob(
        id=1 + secrets.randbelow(LARGEST_ID),
        model_id=entry.id,
        prompt=prompt,
        negative_prompt=negative,
        init_image=picture,
        samples=asked.samples,
        steps=asked.num_inference_steps,
        guidance_scale=asked.guidance_scale,
        strength=asked.strength,
        seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
        sampler=SamplerChoice(asked.scheduler, asked.use_karras_sigmas, asked.algorithm_type),
        clip_skip=asked.clip_skip,
        token_merging=asked.tomesd,
        vae=asked.vae,
        loras=asked.loras,
        embeddings=asked.embeddings,
    )


def _order(asked: Img2ImgRequest, job: Img2ImgJob, prefix: str, finished: Finished) -> FinishOrder:
    parameters = answers.parameters_text(asked, _used(job, finished))
    return FinishOrder(job.id, prefix, asked.safety_checker, asked.safety_checker_type, asked.base64, parameters)


def _used(job: Img2ImgJob, finished: Finished) -> answers.Used:
    return answers.Used(
        job.model_id, job.prompt, job.negative_prompt, finished.sampler, job.seed, job.width, job.height
    )
