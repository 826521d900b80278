"""Prompts to embeddings: one or two CLIP text encoders, weights on words, clip_skip, any length.

Takes prompts as (text, weight) fragments, already parsed. Keeps nothing between calls:
a caller may hold a cache of `TextEmbeds` by `TextKey`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BACKTRACK = 20
"""A full chunk ends at its last comma if that is among its last so many tokens (the web UI's setting of that name)."""
MIN_MEAN = 1e-4
"""Means below this share of the mean magnitude are rounding noise, and nothing is scaled by them."""

Fragments = tuple[tuple[str, float], ...]
"""Texts with their weights, in order. A fragment without text ends a chunk."""
Word = tuple[tuple[int, ...], float]
"""Token ids that stay in one chunk, with their weight. No ids: the chunk ends."""
Chunk = list[tuple[int, float]]
"""Up to 75 token ids with their weights, without start, end, padding."""


@dataclass(frozen=True, slots=True)
class TextKey:
    """All that a prompt's embeddings depend on, under given model weights; hashable."""

    fragments: Fragments
    clip_skip: int = 1
    """Counts as web UIs do: 1 is the layer that the model normally uses, 2 the one before it."""
    addons: tuple[object, ...] = ()
    """What the encoders are changed by: ids of textual inversions, LoRAs with strengths. For caches; not read here."""


@dataclass(frozen=True, slots=True, eq=False)
class TextTower:
    """A text encoder with its tokenizer, and which of its states the UNet was trained on."""

    tokenizer: CLIPTokenizer
    encoder: CLIPTextModel | CLIPTextModelWithProjection
    final_norm: bool = True
    """True (SD 1.x, 2.x): from the last layer on, through the final layer norm. False (SDXL): from the layer
    before the last on, as it is."""
    pooled: bool = False
    """Whether the projected state of the end token is wanted (SDXL's second encoder)."""

    @property
    def deepest_skip(self) -> int:
        """The clip_skip that takes the first layer's states; there is nothing before it but the plain tokens."""
        return self.encoder.config.num_hidden_layers - (0 if self.final_norm else 1)


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbeds:
    """A prompt as the UNet reads it."""

    embeds: Tensor
    """(chunks * 77, width), the towers' widths side by side; the encoders' dtype and device."""
    pooled: Tensor | None
    """(projection width,) of the first chunk, where a tower is `pooled`. Weights on words leave it alone."""

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.embeds.nbytes + (0 if self.pooled is None else self.pooled.nbytes)


@torch.inference_mode()
def encode_texts(towers: Sequence[TextTower], keys: Iterable[TextKey]) -> dict[TextKey, TextEmbeds]:
    """Embeddings of each key, from one forward a tower over the chunks of all; equal keys are encoded once.

    Follows diffusers' `encode_prompt` of StableDiffusionImg2ImgPipeline and StableDiffusionXLImg2ImgPipeline,
    which it equals for unweighted prompts of one chunk. Raises `IndexError` for a clip_skip past the layers.
    """
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        return {}
    split = [[split_text(tower.tokenizer, key.fragments) for key in wanted] for tower in towers]
    counts = [max(map(len, versions)) for versions in zip(*split, strict=True)]
    parts = [
        _run_tower(tower, wanted, [_lengthen(chunks, count) for chunks, count in zip(texts, counts, strict=True)])
        for tower, texts in zip(towers, split, strict=True)
    ]
    return {key: _join(versions) for key, *versions in zip(wanted, *parts, strict=True)}


def level_texts(embeds: Sequence[Tensor], empty: Tensor) -> list[Tensor]:
    """The same embeddings with as many chunks each, as a prompt and its negative prompt must have.

    `embeds` are (chunks * 77, width), `empty` is (77, width): the empty prompt at the same clip_skip,
    which is appended to the shorter ones as the web UI does.
    """
    longest = max(map(len, embeds))
    return [torch.cat([rows, *[empty] * ((longest - len(rows)) // len(empty))]) for rows in embeds]


def stack_text(embeds: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Embeddings (tokens, width) of several lengths as one (rows, longest, width), with zeros behind the shorter.

    The mask, bool (rows, longest) and True for what counts, goes to the UNet as `encoder_attention_mask`.
    It is None where all lengths agree.
    """
    if len({len(rows) for rows in embeds}) == 1:
        return torch.stack(list(embeds)), None
    kept = [torch.ones(len(rows), dtype=torch.bool, device=rows.device) for rows in embeds]
    return pad_sequence(list(embeds), batch_first=True), pad_sequence(kept, batch_first=True)


def split_text(tokenizer: CLIPTokenizer, fragments: Fragments) -> list[Chunk]:
    """The prompt's chunks, at least one, of up to `model_max_length - 2` tokens each.

    A chunk that is full ends at its last comma if that is near, else anywhere but within a textual inversion.
    """
    size = tokenizer.model_max_length - 2
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks: list[Chunk] = [[]]
    fresh = True  # whether the last chunk is one that a BREAK opened, or the first
    for ids, weight in _words(tokenizer, fragments, size):
        if ids and len(chunks[-1]) == size and ids[0] != comma:
            chunks[-1:] = _cut_at_comma(chunks[-1], comma)
        if not ids or len(chunks[-1]) + len(ids) > size:
            chunks.append([])
        chunks[-1].extend((token, weight) for token in ids)
        fresh = not ids
    return chunks[:-1] if fresh and len(chunks) > 1 else chunks


def _cut_at_comma(chunk: Chunk, comma: int) -> tuple[Chunk, Chunk]:
    """The chunk up to its last comma if that is near its end, else whole; and what comes after."""
    near = range(max(0, len(chunk) - BACKTRACK), len(chunk))
    cut = next((index + 1 for index in reversed(near) if chunk[index][0] == comma), len(chunk))
    return chunk[:cut], chunk[cut:]


def _words(tokenizer: CLIPTokenizer, fragments: Fragments, size: int) -> Iterator[Word]:
    if not fragments:
        return
    vectors = _inversions(tokenizer)
    texts = [text for text, _ in fragments]
    tokens = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    for (text, weight), ids in zip(fragments, tokens, strict=True):
        if not text:
            yield (), weight
        for token in ids:
            together = vectors.get(token, (token,))
            for start in range(0, len(together), size):
                yield together[start : start + size], weight


def _inversions(tokenizer: CLIPTokenizer) -> dict[int, tuple[int, ...]]:
    """All token ids of each textual inversion that has several, by its first.

    diffusers names them `word`, `word_1`, `word_2`, ... (`TextualInversionLoaderMixin.maybe_convert_prompt`).
    """
    added = tokenizer.added_tokens_encoder
    return {token: tuple(_numbered(added, word)) for word, token in added.items() if f"{word}_1" in added}


def _numbered(added: dict[str, int], word: str) -> Iterator[int]:
    name, number = word, 0
    while name in added:
        yield added[name]
        number += 1
        name = f"{word}_{number}"


def _lengthen(chunks: list[Chunk], count: int) -> list[Chunk]:
    """Chunks of an empty prompt behind these: two tokenizers may split one text differently."""
    return chunks + [[] for _ in range(count - len(chunks))]


def _run_tower(tower: TextTower, keys: Sequence[TextKey], texts: Sequence[list[Chunk]]) -> list[TextEmbeds]:
    """One forward over all chunks of all texts, then each key's own layer of its own rows."""
    rows = [_wrap(tower.tokenizer, chunk) for chunks in texts for chunk in chunks]
    ids, weights = (torch.tensor(column, device=tower.encoder.device) for column in zip(*rows, strict=True))
    output = tower.encoder(ids, output_hidden_states=True)
    parts: list[TextEmbeds] = []
    start = 0
    for key, chunks in zip(keys, texts, strict=True):
        mine = slice(start, start + len(chunks))
        states = _weigh(_pick_layer(tower, output, key.clip_skip, mine), weights[mine])
        parts.append(TextEmbeds(states.flatten(0, 1), output.text_embeds[start].clone() if tower.pooled else None))
        start = mine.stop
    return parts


def _wrap(tokenizer: CLIPTokenizer, chunk: Chunk) -> tuple[list[int], list[float]]:
    """Ids and weights of one row: start, tokens, end, padding."""
    padding = [tokenizer.pad_token_id] * (tokenizer.model_max_length - 2 - len(chunk))
    ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id, *padding]
    return ids, [1.0, *(weight for _, weight in chunk), 1.0, *[1.0] * len(padding)]


def _pick_layer(tower: TextTower, output: Any, clip_skip: int, rows: slice) -> Tensor:  # noqa: ANN401 (two classes)
    if not tower.final_norm:
        return output.hidden_states[-(clip_skip + 1)][rows]
    # transformers 5 holds the layers in the model itself, before that they lay in `text_model`
    body = getattr(tower.encoder, "text_model", tower.encoder)
    return body.final_layer_norm(output.hidden_states[-clip_skip][rows])


def _weigh(states: Tensor, weights: Tensor) -> Tensor:
    """States (chunks, 77, width) times weights (chunks, 77), each chunk scaled back to its mean.

    The web UI's "original" emphasis. A chunk is not scaled back where its mean is zero or not finite,
    or where its sign has changed: that would turn every embedding round.
    """
    if bool((weights == 1).all()):
        return states
    before = states.float()
    after = before * weights[..., None]
    scale = before.mean((1, 2)) / after.mean((1, 2))
    meant = _has_mean(before) & _has_mean(after) & (scale > 0)
    return (after * torch.where(meant, scale, 1.0)[:, None, None]).to(states.dtype)


def _has_mean(states: Tensor) -> Tensor:
    """Whether each chunk's mean is finite and more than noise; bool (chunks,)."""
    mean = states.mean((1, 2))
    return mean.isfinite() & (mean.abs() > MIN_MEAN * states.abs().mean((1, 2)))


def _join(parts: Sequence[TextEmbeds]) -> TextEmbeds:
    """The towers' versions of one text side by side, in memory of their own."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return TextEmbeds(torch.cat([part.embeds for part in parts], dim=-1), pooled[0] if pooled else None)
