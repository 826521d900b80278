"""One picture all the way through: what a client of the hosted API sees, over HTTP."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import matplotlib
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.pocket.judge import judge
from serve_app.inputs.colour import D65, PRIMARIES, matrix_profile, srgb_curve
from tests.conftest import Service
from tests.integration.asking import (
    IMG2IMG,
    INIT_B64,
    INIT_PIXELS,
    ask,
    b64,
    body,
    distance,
    download,
    pictures,
    pixels_of,
    png,
)

META_KEYS = {
    "prompt", "model_id", "scheduler", "safetychecker", "safety_checker", "safety_checker_type", "negative_prompt",
    "W", "H", "guidance_scale", "init_image", "steps", "n_samples", "strength", "multi_lingual", "full_url", "upscale",
    "seed", "seeds", "tomesd", "use_karras_sigmas", "algorithm_type", "vae", "lora", "lora_strength", "embeddings",
    "clip_skip", "temp", "base64", "outdir", "file_prefix",
}  # fmt: skip


def test_a_picture_of_the_prompts_colours_comes_out_at_strength_09(service: Service) -> None:
    verdict = judge(pictures(service, strength=0.9, num_inference_steps=20)[0])
    assert (verdict.ground, verdict.colour) == ("blue", "red")


def test_a_lower_strength_stays_nearer_to_the_init_image(service: Service) -> None:
    near, far = (pictures(service, strength=strength)[0] for strength in (0.2, 0.9))
    assert distance(near, INIT_PIXELS) < 0.5 * distance(far, INIT_PIXELS)


def test_strength_zero_returns_the_init_image_itself(service: Service) -> None:
    assert np.array_equal(pictures(service, strength=0)[0], INIT_PIXELS)


def test_one_step_at_a_strength_under_one_is_made_and_told(service: Service) -> None:
    answer = ask(service, strength=0.7, num_inference_steps=1)
    assert answer["meta"]["steps"] == 1
    assert distance(pixels_of(download(service, answer["output"][0])), INIT_PIXELS) > 10


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_a_strength_of_one_keeps_nothing_of_the_init_image(service: Service, steps: int) -> None:
    white = b64(png(np.full_like(INIT_PIXELS, 255)))
    asked = {"strength": 1, "num_inference_steps": steps, "scheduler": "DDIMScheduler"}
    one, other = pictures(service, **asked)[0], pictures(service, init_image=white, **asked)[0]
    assert distance(one, other) < 0.5


@pytest.mark.parametrize("strength", ["0.58", 0.58])
def test_steps_are_counted_in_decimals_and_meta_tells_the_evaluations_made(service: Service, strength: object) -> None:
    small = {"width": 64, "height": 64, "num_inference_steps": 50, "strength": strength}
    assert ask(service, **small)["meta"]["steps"] == 29
    assert ask(service, scheduler="HeunDiscreteScheduler", **small)["meta"]["steps"] == 57


@pytest.mark.parametrize(("strength", "steps", "near"), [(0.3, 10, 12), (0.1, 30, 6), (0.2, 20, 6)])
def test_a_multistep_sampler_that_starts_in_the_middle_of_its_schedule_draws_no_noise(
    service: Service, strength: float, steps: int, near: float
) -> None:
    """diffusers' LMS ends 42, 25 and 29 from Euler here, its DPM-Solver++ and UniPC 6, 1.5 and 2.6."""
    asked = {"strength": strength, "num_inference_steps": steps, "use_karras_sigmas": "no"}
    euler = pictures(service, scheduler="EulerDiscreteScheduler", **asked)[0]
    for scheduler in ("LMSDiscreteScheduler", "PNDMScheduler"):
        assert distance(pictures(service, scheduler=scheduler, **asked)[0], euler) < near, scheduler


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(service: Service) -> None:
    first, again, other = (
        download(service, ask(service, seed=seed, num_inference_steps=4)["output"][0]) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_sample_i_is_the_picture_of_seed_plus_i(service: Service) -> None:
    together = pictures(service, samples=3, seed=20, num_inference_steps=4)
    alone = pictures(service, seed=22, num_inference_steps=4)[0]
    assert len(together) == 3
    assert distance(together[2], alone) < 0.5
    assert distance(together[1], alone) > 1


def test_the_answer_is_complete_and_typed_as_the_contract_says(service: Service) -> None:
    answer = ask(service, seed="123456789012", width="100", track_id=None, num_inference_steps="5")  # at .9
    meta = answer["meta"]
    assert set(answer) == {
        "status", "generationTime", "id", "output", "nsfw_content_detected", "webhook_status", "meta",
        "pictures", "timings",
    }  # fmt: skip
    assert set(meta) == META_KEYS
    assert 0 < answer["id"] < 2**31
    assert (meta["W"], meta["H"], meta["steps"], meta["n_samples"]) == (96, 128, 4, 1)
    assert meta["seed"] == 123456789012 % 2**32
    assert all(type(meta[name]) is int for name in ("W", "H", "steps", "n_samples", "seed"))
    assert answer["output"][0].endswith(f"/{meta['file_prefix']}-0.png")
    assert meta["safety_checker"] == "no"
    assert answer["generationTime"] > 0


def test_a_random_seed_is_told_and_gives_the_picture_again(service: Service) -> None:
    answer = ask(service, seed=None, num_inference_steps=3)
    again = ask(service, seed=answer["meta"]["seed"], num_inference_steps=3)
    assert download(service, answer["output"][0]) == download(service, again["output"][0])


def test_enhancement_shows_what_was_really_used_and_can_be_switched_off(service: Service) -> None:
    enhanced = ask(service, num_inference_steps=2)["meta"]
    plain = ask(service, num_inference_steps=2, enhance_prompt="no", negative_prompt="null")["meta"]
    assert enhanced["prompt"].startswith("a red star on a blue background, ")
    assert enhanced["negative_prompt"]
    assert (plain["prompt"], plain["negative_prompt"]) == ("a red star on a blue background", "")


def test_the_png_carries_its_generation_parameters(service: Service) -> None:
    answer = ask(service, num_inference_steps=3, seed=77)
    text = Image.open(io.BytesIO(download(service, answer["output"][0]))).info["parameters"]
    assert "a red star on a blue background" in text
    assert "Seed: 77" in text
    assert "Sampler: DDIM," in text


def test_base64_answers_hold_the_pictures_themselves(service: Service) -> None:
    output = ask(service, base64="yes", num_inference_steps=3)["output"][0]
    assert pixels_of(base64.b64decode(output)).shape == (128, 128, 3)


@pytest.mark.parametrize("path", ["/api/v3/dreambooth/img2img", "/api/v6/images/img2img", "/api/v1/enterprise/img2img"])
def test_every_alias_is_the_same_request(service: Service, path: str) -> None:
    with service.client() as client:
        response = client.post(path, json=body(service, num_inference_steps=2))
    assert response.json()["status"] == "success"


def test_the_route_without_model_id_serves_the_default_model(service: Service) -> None:
    with service.client() as client:
        response = client.post("/api/v3/img2img", json=body(service, model_id=None, num_inference_steps=2))
    assert response.json()["meta"]["model_id"] == "pocket"


def test_json_form_and_multipart_are_the_same_request(service: Service) -> None:
    fields = {name: str(value) for name, value in body(service, num_inference_steps=3).items()}
    parts = {name: value for name, value in fields.items() if name != "init_image"}
    with service.client() as client:
        answers = [
            client.post(IMG2IMG, json=fields).json(),
            client.post(IMG2IMG, data=fields).json(),
            client.post(IMG2IMG, data=parts, files={"init_image": ("a.png", png(INIT_PIXELS), "image/png")}).json(),
            client.post(IMG2IMG, json={**fields, "init_image": f"data:image/png;base64,{INIT_B64}"}).json(),
        ]
    assert len({download(service, answer["output"][0]) for answer in answers}) == 1


@pytest.mark.parametrize("header", [{"Authorization": "Bearer {key}"}, {"key": "{key}"}])
def test_the_key_may_come_as_a_header(service: Service, header: dict[str, str]) -> None:
    headers = {name: value.format(key=service.key) for name, value in header.items()}
    with service.client() as client:
        response = client.post(IMG2IMG, json=body(service, key=None, num_inference_steps=2), headers=headers)
    assert response.json()["status"] == "success"


def test_a_form_with_unescaped_plus_and_one_of_blobs_give_the_picture_of_json(service: Service) -> None:
    assert "+" in INIT_B64
    fields = {name: str(value) for name, value in body(service, num_inference_steps=2).items()}
    form = "&".join(f"{name}={quote(value, safe='+ ')}" for name, value in fields.items())
    blobs = {name: ("blob", value.encode()) for name, value in fields.items()}
    with service.client() as client:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        by_form = client.post(IMG2IMG, content=form.encode(), headers=kind).json()
        by_blobs = client.post(IMG2IMG, files=blobs).json()
    by_json = download(service, ask(service, num_inference_steps=2)["output"][0])
    assert [download(service, answer["output"][0]) for answer in (by_form, by_blobs)] == [by_json] * 2


@pytest.mark.parametrize("temp", ["no", "yes"])
def test_an_output_link_is_the_next_init_image(service: Service, temp: str) -> None:
    link = ask(service, temp=temp, num_inference_steps=2)["output"][0]
    assert np.array_equal(pictures(service, init_image=link, strength=0)[0], pixels_of(download(service, link)))


def test_a_png_with_a_long_workflow_and_no_end_is_taken_and_its_profile_is_honoured(service: Service) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "a node " * 300_000, zip=True)
    file = io.BytesIO()
    wide = matrix_profile(PRIMARIES[12], D65, srgb_curve)
    Image.fromarray(INIT_PIXELS).save(file, "PNG", pnginfo=notes, icc_profile=wide)
    shown = pictures(service, init_image=b64(file.getvalue()[:-12]), strength=0)[0]
    assert 2 < distance(shown, INIT_PIXELS) < 40, "these colours are brighter than sRGB's"


@pytest.mark.parametrize("side", [256, 512])
def test_a_photograph_with_exif_rotation_goes_through_upright(service: Service, side: int) -> None:
    photo = Image.open(matplotlib.get_data_path() + "/sample_data/grace_hopper.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    file = io.BytesIO()
    photo.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif, quality=95)
    shown = pictures(
        service, init_image=b64(file.getvalue()), width=side, height=side, strength=0.1, num_inference_steps=10,
        prompt="a photo", enhance_prompt="no", guidance_scale=1,
    )[0]  # fmt: skip
    square = photo.crop((0, 44, 512, 556)).resize((side, side))
    assert shown.shape == (side, side, 3)
    assert distance(shown, np.asarray(square)) < 30
    assert distance(shown, np.asarray(square)) < 0.6 * distance(shown, np.asarray(square.rotate(90)))


def test_requests_at_once_give_the_pictures_that_they_give_alone(service: Service) -> None:
    asked: list[dict[str, object]] = [
        {"seed": 40, "num_inference_steps": 9, "scheduler": "EulerDiscreteScheduler"},
        {"seed": 41, "num_inference_steps": 5, "scheduler": "KarrasVeScheduler", "guidance_scale": 1},
        {"seed": 42, "num_inference_steps": 7, "prompt": "a (green:1.2) ring on a white background", "samples": 2},
        {"seed": 43, "num_inference_steps": 4, "width": 96, "height": 96},
    ]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda fields: pictures(service, **fields), asked))
    for fields, shown in zip(asked, together, strict=True):
        for one, other in zip(shown, pictures(service, **fields), strict=True):
            assert np.abs(one.astype(int) - other).max() <= 2
