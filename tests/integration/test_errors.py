"""Bad input over HTTP: the contract's error for each, and a service that goes on serving."""

import gzip
import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Service
from tests.integration.asking import IMG2IMG, INIT_B64, INIT_PIXELS, ask, b64, body, pictures, png

REQUIRED = "The {} field is required."
INTEGER = "The {} must be an integer."
NUMBER = "The {} must be a number."
RANGE = "The {} must be between {} and {}."
FLAG = "The {} field must be yes or no."
INVALID = "The selected {} is invalid."
NOT_AN_IMAGE = "The init image must be an image."
NO_SOURCE = "The init image must be a URL that starts with http:// or https://, base64 text, or an uploaded file."
BLANK = (
    f"The init image must be valid base64: there is a blank at character {INIT_B64.index('+') + 1}; "
    "a + that was not escaped becomes one."
)

BAD_FIELDS: list[tuple[str, object, str]] = [
    ("prompt", None, REQUIRED.format("prompt")),
    ("prompt", "", REQUIRED.format("prompt")),
    ("prompt", "null", REQUIRED.format("prompt")),
    ("prompt", ["a"], "The prompt must be a string."),
    ("negative_prompt", {"a": 1}, "The negative prompt must be a string."),
    ("init_image", None, REQUIRED.format("init image")),
    ("model_id", None, REQUIRED.format("model id")),
    ("width", "wide", INTEGER.format("width")),
    ("width", 512.5, INTEGER.format("width")),
    ("width", 63, RANGE.format("width", 64, 1024)),
    ("height", 1025, RANGE.format("height", 64, 1024)),
    ("height", True, INTEGER.format("height")),
    ("samples", 0, RANGE.format("samples", 1, 4)),
    ("samples", "5", RANGE.format("samples", 1, 4)),
    ("samples", [], INTEGER.format("samples")),
    ("num_inference_steps", 0, RANGE.format("num inference steps", 1, 50)),
    ("num_inference_steps", 51, RANGE.format("num inference steps", 1, 50)),
    ("num_inference_steps", "many", INTEGER.format("num inference steps")),
    ("guidance_scale", 0.5, RANGE.format("guidance scale", 1, 20)),
    ("guidance_scale", "strong", NUMBER.format("guidance scale")),
    ("guidance_scale", "nan", NUMBER.format("guidance scale")),
    ("strength", 1.01, RANGE.format("strength", 0, 1)),
    ("strength", -0.1, RANGE.format("strength", 0, 1)),
    ("strength", {}, NUMBER.format("strength")),
    ("seed", "lucky", INTEGER.format("seed")),
    ("scheduler", "FancyScheduler", INVALID.format("scheduler")),
    ("scheduler", "NoSuchScheduler", INVALID.format("scheduler")),
    ("use_karras_sigmas", "perhaps", FLAG.format("use karras sigmas")),
    ("algorithm_type", "magic", INVALID.format("algorithm type")),
    ("clip_skip", 0, RANGE.format("clip skip", 1, 8)),
    ("clip_skip", 9, RANGE.format("clip skip", 1, 8)),
    ("tomesd", 2, FLAG.format("tomesd")),
    ("vae", "no-such-vae", INVALID.format("vae")),
    ("lora_model", "no-such-lora", INVALID.format("lora model")),
    ("embeddings_model", "no-such-embedding", INVALID.format("embeddings model")),
    ("enhance_prompt", "maybe", FLAG.format("enhance prompt")),
    ("safety_checker", "sometimes", FLAG.format("safety checker")),
    ("safety_checker_type", "shred", INVALID.format("safety checker type")),
    ("base64", "x", FLAG.format("base64")),
    ("temp", "x", FLAG.format("temp")),
    ("webhook", "not a url", "The webhook must be a valid URL."),
    ("track_id", ["a"], "The track id must be a string or an integer."),
    (
        "init_image",
        "!!!notbase64!!!",
        "The init image must be valid base64: '!' at character 1 is none of its characters.",
    ),
    ("init_image", "photo.png", NO_SOURCE),
    ("init_image", b64(png(INIT_PIXELS)).replace("+", " "), BLANK),
    ("init_image", b64(b"these bytes are no picture"), NOT_AN_IMAGE),
    ("init_image", b64(png(INIT_PIXELS)[:200]), NOT_AN_IMAGE),
]


def post(service: Service, fields: dict[str, object]) -> tuple[int, dict[str, Any]]:
    with service.client() as client:
        response = client.post(IMG2IMG, json=fields)
    return response.status_code, response.json()


@pytest.mark.parametrize(("field", "value", "sentence"), BAD_FIELDS)
def test_a_bad_field_is_told_in_the_contracts_words(service: Service, field: str, value: object, sentence: str) -> None:
    status, answer = post(service, body(service, **{field: value}))
    assert (status, answer) == (422, {"status": "error", "message": {field: [sentence]}})


def test_all_bad_fields_are_told_at_once(service: Service) -> None:
    status, answer = post(service, {"key": service.key, "width": 5, "samples": "x", "strength": 7})
    assert status == 422
    assert set(answer["message"]) == {"prompt", "init_image", "model_id", "width", "samples", "strength"}


@pytest.mark.parametrize("raw", [b"{", b"[1, 2]", b'"text"', b"\xff\xfe\x00", b"{" * 100_000, b'{"seed": NaN}'])
def test_an_unreadable_body_is_an_invalid_api_request(service: Service, raw: bytes) -> None:
    with service.client() as client:
        response = client.post(IMG2IMG, content=raw, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["message"]) == (400, "Invalid API Request")


@pytest.mark.parametrize("key", [None, "", "wrong", 12])
def test_a_wrong_or_missing_key_is_refused(service: Service, key: object) -> None:
    status, answer = post(service, body(service, key=key))
    assert (status, answer) == (401, {"status": "error", "message": "Invalid Api Key"})


def test_an_unknown_model_is_not_found(service: Service) -> None:
    status, answer = post(service, body(service, model_id="no-such-model"))
    assert (status, answer) == (404, {"status": "error", "message": "Model id not found"})


def test_a_body_over_the_limit_is_refused_before_it_is_read(service: Service) -> None:
    status, answer = post(service, body(service, padding="x" * 5_000_000))
    assert (status, answer["status"]) == (413, "error")


def test_a_gif_is_refused_by_its_type(service: Service) -> None:
    file = io.BytesIO()
    Image.fromarray(INIT_PIXELS).save(file, "GIF")
    status, answer = post(service, body(service, init_image=b64(file.getvalue())))
    assert (status, answer["message"]) == (
        422,
        {"init_image": ["The init image must be a file of type: png, jpeg, webp."]},
    )


@pytest.mark.parametrize(("method", "path", "status"), [("GET", IMG2IMG, 405), ("POST", "/api/v4/nothing", 404)])
def test_unknown_routes_and_methods_answer_in_our_form(service: Service, method: str, path: str, status: int) -> None:
    with service.client() as client:
        response = client.request(method, path)
    assert (response.status_code, response.json()["status"]) == (status, "error")
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("name", ["nothing.png", "..%2f..%2fkeys.json", "%2e%2e/keys.json", "keys.json"])
def test_no_file_but_a_picture_leaves_the_store(service: Service, name: str) -> None:
    with service.client() as client:
        assert client.get(f"/files/{name}").status_code == 404


def test_a_picture_behind_a_url_is_fetched(service: Service, site: str) -> None:
    by_url = pictures(service, init_image=f"{site}/picture.png", num_inference_steps=2)[0]
    assert np.array_equal(by_url, pictures(service, num_inference_steps=2)[0])


UNABLE = "Unable to fetch image from provided URL: "


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "the server answered 404"),
        ("/redirect-to-metadata", "its host has no public address"),
        ("/closed", "its server cannot be connected to"),
        ("/text", "not a PNG, JPEG or WebP"),
        ("/half", "the picture is damaged or cut off"),
    ],
)
def test_a_url_without_a_picture_is_unable_to_fetch_and_says_why(
    service: Service, site: str, path: str, reason: str
) -> None:
    url = "http://127.0.0.1:9/x.png" if path == "/closed" else site + path
    status, answer = post(service, body(service, init_image=url))
    assert (status, answer["message"]) == (422, UNABLE + reason)


@pytest.mark.parametrize("path", ["/made-up-coding", "/zipped", "/partial"])
def test_what_pixels_do_not_need_spoils_no_picture_behind_a_url(service: Service, site: str, path: str) -> None:
    by_url = pictures(service, init_image=site + path, num_inference_steps=2)[0]
    assert np.array_equal(by_url, pictures(service, num_inference_steps=2)[0])


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/", "http://10.0.0.1/a.png", "http://[::1]:1/a.png", "http://none.invalid/"]
)
def test_private_networks_are_refused_as_names_are_that_do_not_exist(service: Service, url: str) -> None:
    status, answer = post(service, body(service, init_image=url))
    assert (status, answer["message"]) == (422, UNABLE + "its host has no public address")


@pytest.mark.parametrize("field", ["webhook", "init_image"])
def test_a_url_that_is_never_called_is_a_bad_field(service: Service, field: str) -> None:
    label = field.replace("_", " ")
    for url, sentence in (
        ("http://user:secret@example.com/", f"The {label} may not hold a user name or a password."),
        ("ftp://example.com/a.png", f"The {label} must be a valid URL."),
        ("http://example.com:0/", f"The {label} must be a valid URL."),
    ):
        status, answer = post(service, body(service, **{field: url}))
        assert (status, answer["message"]) == (422, {field: [sentence]})


def test_a_webhook_into_a_private_network_is_a_bad_field(service: Service) -> None:
    status, answer = post(service, body(service, webhook="http://10.0.0.1/hook"))
    assert (status, answer["message"]) == (422, {"webhook": ["The webhook may not lead to a private network."]})


def test_a_scheduler_and_an_algorithm_that_do_not_go_together_are_both_named(service: Service) -> None:
    pair = {"scheduler": "DPMSolverSinglestepScheduler", "algorithm_type": "sde-dpmsolver"}
    status, answer = post(service, body(service, **pair, instant_response="yes"))
    assert (status, set(answer["message"])) == (422, {"scheduler", "algorithm_type"})


def test_the_service_keeps_serving_after_all_that(service: Service) -> None:
    assert ask(service, num_inference_steps=2)["output"]


class _Site(BaseHTTPRequestHandler):
    """Serves one picture and several disappointments."""

    def do_GET(self) -> None:
        answers = {
            "/picture.png": (200, {"Content-Type": "image/png"}, png(INIT_PIXELS)),
            "/text": (200, {"Content-Type": "image/png"}, b"not a picture"),
            "/half": (200, {}, png(INIT_PIXELS)[:200]),
            "/made-up-coding": (200, {"Content-Encoding": "aws-chunked"}, png(INIT_PIXELS)),
            "/zipped": (
                200,
                {"Content-Encoding": "gzip", "Content-Type": "text/html"},
                gzip.compress(png(INIT_PIXELS)),
            ),
            "/partial": (206, {"Content-Encoding": ""}, png(INIT_PIXELS)),
            "/redirect-to-metadata": (302, {"Location": "http://169.254.169.254/latest/"}, b""),
        }
        status, headers, content = answers.get(self.path, (404, {}, b"gone"))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web site on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
