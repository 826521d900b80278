"""A diffusers pipeline's weights under the names of the original programs (LDM, SGM, OpenCLIP), as model sites have
them. The other direction of what `diffusers.loaders.single_file_utils` knows, for models that the tests make.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Network = Any
"""Of diffusers or transformers, which are untyped."""
State = dict[str, Tensor]
Rules = Sequence[tuple[str, str]]

UNET_ENDS: Rules = (
    ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
)  # fmt: skip
UNET_RESNET: Rules = (
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("norm2", "out_layers.0"), ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip
UNET_MIDDLE: Rules = (("resnets.0", "0"), ("attentions.0", "1"), ("resnets.1", "2"))
VAE: Rules = (
    ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"), ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"), ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
    ("to_out.0", "proj_out"), (".resnets.", ".block."),
)  # fmt: skip
OPEN_CLIP: Rules = (
    ("embeddings.position_embedding.weight", "positional_embedding"), ("embeddings.token_embedding", "token_embedding"),
    ("final_layer_norm", "ln_final"), ("encoder.layers.", "transformer.resblocks."), ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"), ("self_attn.out_proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)  # fmt: skip


def original_unet(unet: Network) -> State:
    """Without the prefix `model.diffusion_model.`."""
    return {unet_name(name, unet.config.layers_per_block): weight for name, weight in unet.state_dict().items()}


def unet_name(name: str, layers: int) -> str:
    """One name of the UNet: blocks numbered through, `layers` resnets in each block on the way down."""
    if name.startswith("mid_block."):
        place = _replaced(name.removeprefix("mid_block."), UNET_MIDDLE)
        return f"middle_block.{place if place.startswith('1.') else _replaced(place, UNET_RESNET)}"
    block = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    if block is None:
        return _replaced(name, UNET_ENDS)
    way, number, kind, layer, rest = block.groups()
    first = int(number) * (layers + 1) + (way == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.UP.{rest}"
    inner = f"0.{_replaced(rest, UNET_RESNET)}" if kind == "resnets" else f"1.{rest}"
    return f"{'input' if way == 'down' else 'output'}_blocks.{first + int(layer)}.{inner}"


def original_vae(vae: Network) -> State:
    """Without the prefix `first_stage_model.`; attention weights are 1×1 convolutions there."""
    last = len(vae.config.up_block_types) - 1
    named = {}
    for name, weight in vae.state_dict().items():
        short = re.sub(r"up_blocks\.(\d+)", lambda block: f"up.{last - int(block[1])}", _replaced(name, VAE))
        is_attention = ".attn_1." in short and weight.dim() == 2
        named[short.replace("down_blocks.", "down.")] = weight[:, :, None, None] if is_attention else weight
    return named


def original_clip(encoder: Network) -> State:
    """Without the prefix `...transformer.`: as transformers 4 named them, and with the ids that it kept."""
    ids = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    return ids | {f"text_model.{_bare(name)}": weight for name, weight in encoder.state_dict().items()}


def original_open_clip(encoder: Network) -> State:
    """Without the prefix `...model.`: queries, keys and values in one matrix, the projection transposed."""
    state = {_bare(name): weight for name, weight in encoder.state_dict().items()}
    named: State = {"logit_scale": torch.tensor(4.6)}
    for name, weight in state.items():
        if name == "text_projection.weight":
            named["text_projection"] = weight.T.contiguous()
        elif ".q_proj." in name:
            joined = torch.cat([state[name.replace(".q_proj.", f".{each}_proj.")] for each in "qkv"])
            named[_replaced(name, OPEN_CLIP).replace("self_attn.q_proj.", "attn.in_proj_")] = joined
        elif not re.search(r"\.[kv]_proj\.", name):
            named[_replaced(name, OPEN_CLIP)] = weight
    return named


def original_names(parts: Network) -> State:
    """A whole model as one file, with the schedule that the training program left in it."""
    return {
        "betas": torch.linspace(0.1, 0.2, 1000), "model_ema.num_updates": torch.tensor(1),
        **_prefixed("model.diffusion_model.", _with_upsamplers(original_unet(parts.unet))),
        **_prefixed("first_stage_model.", original_vae(parts.vae)),
        **_texts(parts),
    }  # fmt: skip


def _texts(parts: Network) -> State:
    first = parts.text_encoder
    second = getattr(parts, "text_encoder_2", None)
    if second is not None:
        return {
            **_prefixed("conditioner.embedders.0.transformer.", original_clip(first)),
            **_prefixed("conditioner.embedders.1.model.", original_open_clip(second)),
        }
    if first.config.hidden_act == "gelu":
        return _prefixed("cond_stage_model.model.", original_open_clip(first))
    return _prefixed("cond_stage_model.transformer.", original_clip(first))


def _with_upsamplers(state: State) -> State:
    """An upsampler is the third module of its block, or the second where the block has no attention."""
    named = {}
    for name, weight in state.items():
        block = name.partition(".UP.")[0]
        place = 2 if any(other.startswith(f"{block}.1.") for other in state) else 1
        named[name.replace(".UP.", f".{place}.")] = weight
    return named


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def _replaced(name: str, rules: Rules) -> str:
    for theirs, original in rules:
        name = name.replace(theirs, original)
    return name


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: weight.contiguous() for name, weight in state.items()}
