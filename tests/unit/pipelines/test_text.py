"""Prompts to embeddings: as diffusers' own for short plain prompts, as the web UIs' for weighted and long ones."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from serve_app.config import POCKET, PROJECT
from serve_app.pipelines.text import (
    Fragments,
    TextKey,
    TextTower,
    encode_texts,
    level_texts,
    split_text,
    stack_text,
)
from serve_app.prompts.weights import BREAK, parse_weights

CHECKPOINT = PROJECT / POCKET.source
PLAIN = ["", "red star", "a red star on a blue background, oil painting"]
WORDS = ("red", "star", "blue", "background")


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(CHECKPOINT / "text_encoder").eval()


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet").eval()


@pytest.fixture(scope="module")
def theirs() -> StableDiffusionImg2ImgPipeline:
    return StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, safety_checker=None, feature_extractor=None)


@pytest.fixture
def towers(tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> list[TextTower]:
    return [TextTower(tokenizer, encoder)]


@pytest.fixture
def sdxl(tokenizer: CLIPTokenizer) -> StableDiffusionXLImg2ImgPipeline:
    """SDXL's two text encoders at a small size, of different widths, with random weights."""
    torch.manual_seed(5)
    parts = dict.fromkeys(("vae", "unet", "scheduler", "image_encoder", "feature_extractor"))
    return StableDiffusionXLImg2ImgPipeline(
        tokenizer=tokenizer,
        tokenizer_2=CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer", pad_token="!"),
        text_encoder=CLIPTextModel(small_config(hidden_size=32)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(small_config(hidden_size=48, projection_dim=24)).eval(),
        add_watermarker=False,
        **parts,
    )


def small_config(**sizes: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=666, bos_token_id=664, eos_token_id=665, pad_token_id=665, intermediate_size=64,
        num_hidden_layers=4, num_attention_heads=4, **sizes,
    )  # fmt: skip


def towers_of(pipeline: StableDiffusionXLImg2ImgPipeline) -> list[TextTower]:
    return [
        TextTower(pipeline.tokenizer, pipeline.text_encoder, final_norm=False),
        TextTower(pipeline.tokenizer_2, pipeline.text_encoder_2, final_norm=False, pooled=True),
    ]


def key(prompt: str, clip_skip: int = 1) -> TextKey:
    return TextKey(parse_weights(prompt), clip_skip)


def embed(towers: list[TextTower], prompt: str, clip_skip: int = 1) -> torch.Tensor:
    return encode_texts(towers, [key(prompt, clip_skip)])[key(prompt, clip_skip)].embeds


def learn(tokenizer: CLIPTokenizer, word: str, vectors: int) -> tuple[int, ...]:
    """Ids of a new textual inversion, named as diffusers' loader does."""
    names = [word, *(f"{word}_{number}" for number in range(1, vectors))]
    tokenizer.add_tokens(names)
    return tuple(tokenizer.convert_tokens_to_ids(names))


def lengths(tokenizer: CLIPTokenizer, prompt: str) -> list[int]:
    return [len(chunk) for chunk in split_text(tokenizer, parse_weights(prompt))]


# Chunks


def test_a_prompt_without_words_is_one_empty_chunk(tokenizer: CLIPTokenizer) -> None:
    assert lengths(tokenizer, "") == lengths(tokenizer, " ") == lengths(tokenizer, "BREAK") == [0]


@pytest.mark.parametrize(("words", "chunks"), [(75, [75]), (76, [75, 1]), (150, [75, 75]), (151, [75, 75, 1])])
def test_a_chunk_holds_75_tokens(tokenizer: CLIPTokenizer, words: int, chunks: list[int]) -> None:
    assert lengths(tokenizer, "red " * words) == chunks


@pytest.mark.parametrize(
    ("before", "after", "chunks"),
    [
        (54, 21, [75, 1]),  # the comma is the 55th token: too far from the end
        (55, 20, [56, 20]),  # the 56th: near enough, and the phrase behind it moves on whole
        (74, 1, [75, 1]),
        (75, 1, [75, 2]),  # a comma without room goes to the next chunk
    ],
)
def test_a_full_chunk_ends_at_a_comma_among_its_last_20_tokens(
    tokenizer: CLIPTokenizer, before: int, after: int, chunks: list[int]
) -> None:
    assert lengths(tokenizer, "red " * before + ", " + "star " * after) == chunks


def test_text_that_fits_is_not_cut_at_its_comma(tokenizer: CLIPTokenizer) -> None:
    assert lengths(tokenizer, "red " * 60 + ", " + "star " * 14) == [75]


def test_break_ends_a_chunk_and_one_at_the_end_opens_none(tokenizer: CLIPTokenizer) -> None:
    assert lengths(tokenizer, "red star BREAK blue BREAK") == [2, 1]
    assert lengths(tokenizer, "BREAK red BREAK BREAK blue") == [0, 1, 0, 1]


def test_each_token_carries_its_words_weight(tokenizer: CLIPTokenizer) -> None:
    (chunk,) = split_text(tokenizer, parse_weights("a (red star:1.5), [[blue]]"))
    assert [round(weight, 3) for _, weight in chunk] == [1, 1.5, 1.5, 1, 0.826]
    assert [token for token, _ in chunk] == tokenizer("a red star, blue", add_special_tokens=False).input_ids


def test_a_textual_inversion_counts_with_all_its_vectors_as_in_diffusers(
    tokenizer: CLIPTokenizer, theirs: StableDiffusionImg2ImgPipeline
) -> None:
    learn(tokenizer, "<dusk>", 3)
    learn(tokenizer, "<dawn>", 1)
    prompt = "a <dusk> star, <dawn>"
    told = theirs.maybe_convert_prompt(prompt, tokenizer)
    (chunk,) = split_text(tokenizer, parse_weights(prompt))
    assert [token for token, _ in chunk] == tokenizer(told, add_special_tokens=False).input_ids


def test_a_textual_inversion_is_not_split_between_chunks(tokenizer: CLIPTokenizer) -> None:
    vectors = learn(tokenizer, "<dusk>", 4)
    first, second = split_text(tokenizer, parse_weights("red " * 73 + "(<dusk>:1.2) star"))
    assert len(first) == 73
    assert second[:4] == [(token, 1.2) for token in vectors]


def test_a_textual_inversion_longer_than_a_chunk_is_split_all_the_same(tokenizer: CLIPTokenizer) -> None:
    learn(tokenizer, "<dusk>", 80)
    assert lengths(tokenizer, "a <dusk> star") == [1, 75, 6]


# One encoder, as Stable Diffusion 1.x and 2.x


@pytest.mark.parametrize("prompt", [*PLAIN, "red " * 75])
@pytest.mark.parametrize("skip", [1, 2, 5, 8])
def test_a_plain_prompt_equals_diffusers_bit_for_bit(
    towers: list[TextTower],
    theirs: StableDiffusionImg2ImgPipeline,
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    skip: int,
) -> None:
    # diffusers looks for the layers where transformers 4 had them
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda self: self), raising=False)
    wanted, _ = theirs.encode_prompt(prompt, "cpu", 1, False, clip_skip=skip - 1 or None)
    assert torch.equal(embed(towers, prompt, skip)[None], wanted)


def test_a_plain_prompt_equals_the_plain_encoder_bit_for_bit(towers: list[TextTower]) -> None:
    tower = towers[0]
    for prompt in PLAIN:
        ids = tower.tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
        assert torch.equal(embed(towers, prompt)[None], tower.encoder(ids).last_hidden_state)


def test_weight_one_changes_nothing_and_another_weight_does(towers: list[TextTower]) -> None:
    plain = embed(towers, "red star")
    assert torch.equal(embed(towers, "(red:1.0) star"), plain)
    assert not torch.allclose(embed(towers, "(red:1.3) star"), plain, atol=1e-3)


def test_a_weight_acts_on_its_own_word_and_the_mean_stays(towers: list[TextTower]) -> None:
    plain, weighted = embed(towers, "red star"), embed(towers, "(red:1.3) star")
    scale = weighted[0] / plain[0]
    assert torch.allclose(weighted[1], plain[1] * scale * 1.3, atol=1e-4)
    assert torch.allclose(weighted[2:], plain[2:] * scale, atol=1e-4)
    assert float(weighted.mean()) == pytest.approx(float(plain.mean()), rel=1e-2)


def test_a_chunk_without_weights_stays_as_it_is_beside_one_with_weights(towers: list[TextTower]) -> None:
    mixed = embed(towers, "red star BREAK (blue:1.5) star")
    assert torch.equal(mixed[:77], embed(towers, "red star BREAK blue star")[:77])


@pytest.mark.parametrize("shift", [0.0, float("nan")])
def test_a_mean_of_zero_or_none_at_all_scales_nothing(
    towers: list[TextTower], monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    def centred(states: torch.Tensor) -> torch.Tensor:
        return states - states.mean(-1, keepdim=True) + shift

    monkeypatch.setattr(towers[0].encoder.final_layer_norm, "forward", centred)
    plain, weighted = embed(towers, "red star"), embed(towers, "(red:2) star")
    assert torch.allclose(weighted[2:], plain[2:], equal_nan=True)
    assert torch.allclose(weighted[1], plain[1] * 2, equal_nan=True)


@pytest.mark.parametrize("weight", ["0", "-1", "1e9", "99999", "0.0001"])
def test_odd_weights_give_finite_embeddings(towers: list[TextTower], weight: str) -> None:
    assert embed(towers, f"(a red star:{weight}) on a blue background").isfinite().all()


def test_a_long_prompt_is_its_chunks_one_after_another(towers: list[TextTower]) -> None:
    long = embed(towers, "red star BREAK blue")
    assert long.shape == (154, 64)
    assert torch.allclose(long, torch.cat([embed(towers, "red star"), embed(towers, "blue")]), atol=1e-5)


def test_words_past_the_77th_token_count(towers: list[TextTower]) -> None:
    filler = "red " * 80
    assert not torch.allclose(embed(towers, filler + "star"), embed(towers, filler + "blue"), atol=1e-3)


def test_a_prompt_alone_equals_itself_among_others(towers: list[TextTower]) -> None:
    keys = [key(text, skip) for skip in (1, 2, 7) for text in (*PLAIN, "(red:1.4) star", "blue " * 100)]
    together = encode_texts(towers, keys)
    for one in keys:
        assert torch.allclose(together[one].embeds, encode_texts(towers, [one])[one].embeds, atol=1e-5)


def test_many_prompts_cost_one_forward_and_equal_ones_a_single_row(
    towers: list[TextTower], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    run = CLIPTextModel.forward

    def forward(self: CLIPTextModel, ids: torch.Tensor, **options: bool) -> object:
        rows.append(len(ids))
        return run(self, ids, **options)

    monkeypatch.setattr(CLIPTextModel, "forward", forward)
    encode_texts(towers, [key("red"), key("blue", 2), key("red"), key("red " * 76)])
    assert rows == [4]
    assert encode_texts(towers, []) == {}


def test_embeddings_keep_no_memory_of_the_prompts_beside_them(towers: list[TextTower]) -> None:
    for one in encode_texts(towers, [key("red"), key("blue"), key("star")]).values():
        assert one.embeds.untyped_storage().nbytes() == one.embeds.nbytes


# Two encoders, as SDXL


@pytest.mark.parametrize("prompt", PLAIN)
@pytest.mark.parametrize("skip", [1, 2, 4])
def test_two_encoders_equal_diffusers_sdxl_bit_for_bit(
    sdxl: StableDiffusionXLImg2ImgPipeline, prompt: str, skip: int
) -> None:
    wanted, _, pooled, _ = sdxl.encode_prompt(
        prompt, device=torch.device("cpu"), do_classifier_free_guidance=False, clip_skip=skip - 1 or None
    )
    mine = encode_texts(towers_of(sdxl), [key(prompt, skip)])[key(prompt, skip)]
    assert mine.pooled is not None
    assert mine.embeds.shape == (77, 80)
    assert torch.equal(mine.embeds[None], wanted)
    assert torch.equal(mine.pooled[None], pooled)


def test_the_pooled_state_is_the_first_chunks_and_knows_no_weights(sdxl: StableDiffusionXLImg2ImgPipeline) -> None:
    keys = [key("red star"), key("(red:1.5) star BREAK blue")]
    plain, long = (encode_texts(towers_of(sdxl), [one])[one] for one in keys)
    assert plain.pooled is not None
    assert long.pooled is not None
    assert long.embeds.shape == (154, 80)
    assert torch.allclose(long.pooled, plain.pooled, atol=1e-5)


def test_two_encoders_that_split_a_text_differently_still_agree_on_its_length(
    sdxl: StableDiffusionXLImg2ImgPipeline,
) -> None:
    learn(sdxl.tokenizer, "<dusk>", 3)
    sdxl.text_encoder.resize_token_embeddings(len(sdxl.tokenizer))
    assert embed(towers_of(sdxl), "red " * 70 + "<dusk>").shape == (154, 80)


# Rows of one batch


def test_a_prompt_and_its_negative_are_levelled_with_chunks_of_the_empty_prompt(towers: list[TextTower]) -> None:
    long, short, empty = embed(towers, "red BREAK blue BREAK star"), embed(towers, "blue"), embed(towers, "")
    same, levelled = level_texts([long, short], empty)
    assert torch.equal(same, long)
    assert torch.equal(levelled, torch.cat([short, empty, empty]))


def test_rows_of_one_length_need_no_mask(towers: list[TextTower]) -> None:
    rows = [embed(towers, "red"), embed(towers, "blue")]
    stacked, mask = stack_text(rows)
    assert mask is None
    assert torch.equal(stacked, torch.stack(rows))


def test_rows_of_several_lengths_give_the_unet_what_each_gives_alone(
    towers: list[TextTower], unet: UNet2DConditionModel
) -> None:
    prompts = ("red star", "red BREAK (blue:1.3) star", "a star BREAK on a BREAK blue background")
    rows = [embed(towers, prompt) for prompt in prompts]
    latents = torch.randn(len(rows), 4, 16, 16, generator=torch.Generator().manual_seed(2))
    steps = torch.tensor([801, 401, 1])
    stacked, mask = stack_text(rows)
    assert mask is not None
    assert stacked.shape == (3, 231, 64)
    assert mask.sum(1).tolist() == [77, 154, 231]
    together = unet(latents, steps, stacked, encoder_attention_mask=mask).sample
    for row, text in enumerate(rows):
        alone = unet(latents[row : row + 1], steps[row : row + 1], text[None]).sample
        assert torch.allclose(together[row : row + 1], alone, atol=1e-5)


def test_fragments_of_the_parser_are_what_the_encoder_takes() -> None:
    fragments: Fragments = parse_weights("red BREAK (blue:1.5)")
    assert fragments == (("red", 1.0), BREAK, ("blue", 1.5))
