"""Weights that a request names are judged by the model's own catalogue entry."""

import pytest

from serve_app.api.wire import Img2ImgRequest, check_against, parse_img2img
from serve_app.config import ModelEntry, Weights
from serve_app.errors import InvalidFields


def weights(*ids: str) -> tuple[Weights, ...]:
    return tuple(Weights(id=name, source=f"weights/{name}.safetensors") for name in ids)


DRESSED = ModelEntry(
    id="dressed", source="x", loras=weights("stripes", "frame"), vaes=weights("pastel"), embeddings=weights("dusk")
)


def parse(**fields: object) -> Img2ImgRequest:
    least = {"prompt": "a red star", "init_image": "https://example.com/a.png"}
    return parse_img2img({**least, **fields}, model_required=False)


def test_weights_must_be_in_the_models_catalogue_entry() -> None:
    check_against(parse(lora_model="stripes,frame", vae="pastel", embeddings_model="dusk"), DRESSED)
    wrong = parse(lora_model="stripes,smoke", vae="other", embeddings_model="dawn")
    with pytest.raises(InvalidFields) as caught:
        check_against(wrong, DRESSED)
    assert caught.value.fields == {
        "lora_model": ["The selected lora model is invalid."],
        "vae": ["The selected vae is invalid."],
        "embeddings_model": ["The selected embeddings model is invalid."],
    }


def test_a_request_without_weights_fits_every_model() -> None:
    check_against(parse(), ModelEntry(id="bare", source="x"))


@pytest.mark.parametrize(
    ("asked", "own"),
    [({"scheduler": "DPMSolverSinglestepScheduler"}, "DDIMScheduler"), ({}, "DPMSolverSinglestepScheduler")],
)
def test_a_sampler_that_lacks_the_algorithm_is_refused_before_it_is_run(asked: dict[str, object], own: str) -> None:
    entry = ModelEntry(id="bare", source="x", default_sampler=own)
    with pytest.raises(InvalidFields) as caught:
        check_against(parse(algorithm_type="sde-dpmsolver", **asked), entry)
    assert set(caught.value.fields) == {"scheduler", "algorithm_type"}
    check_against(parse(algorithm_type="sde-dpmsolver++", **asked), entry)
