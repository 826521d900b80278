"""Prompts to embeddings: tokenizer and CLIP text encoder, with clip_skip."""

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


@torch.inference_mode()
def encode_text(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, texts: list[str], clip_skip: int) -> Tensor:
    """Embeddings of shape (len(texts), 77, width); texts past the tokenizer's length are cut.

    `clip_skip` counts as web UIs do: 1 is the last layer. Earlier layers pass through the
    final layer norm, as in diffusers' `encode_prompt`.
    """
    ids = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    states = encoder(ids.to(encoder.device), output_hidden_states=True)
    if clip_skip == 1:
        return states.last_hidden_state
    # transformers 5 holds the layers in the model itself, before that they lay in `text_model`
    body = getattr(encoder, "text_model", encoder)
    return body.final_layer_norm(states.hidden_states[-clip_skip])
