"""Files as people have them: weights of each kind by their headers alone, and what lies where weights should."""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]

SD_CHECKPOINT: Shapes = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 768),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (4, 4),
    "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
}
SDXL_CHECKPOINT: Shapes = {
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (4, 2048),
    "model.diffusion_model.label_emb.0.0.weight": (4, 4),
    "conditioner.embedders.1.model.token_embedding.weight": (4, 4),
}
SD_LORA: Shapes = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (4, 4),
}
EMBEDDING: Shapes = {"emb_params": (2, 768)}
VAE: Shapes = {"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)}
FLUX: Shapes = {"double_blocks.0.img_attn.qkv.weight": (4, 4)}


def safetensors(shapes: Shapes) -> bytes:
    """A safetensors file of zeros."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def put(file: Path, content: bytes | Shapes) -> Path:
    """The file, its folder made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else safetensors(content))
    return file


def zipped_pickle(file: Path) -> Path:
    """As `torch.save` writes it."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weights": 1}))
    return file


def diffusers_folder(folder: Path, *, embeds: str | None = None) -> Path:
    """A diffusers folder whose weights are headers."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["d", "U"],
        "vae": ["d", "A"],
        "text_encoder": ["t", "C"],
    }
    put(folder / "model_index.json", json.dumps(index).encode())
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        put(folder / part / f"{stem}.safetensors", {"weight": (2, 2)})
        put(
            folder / part / "config.json",
            json.dumps({"addition_embed_type": embeds, "cross_attention_dim": 768}).encode(),
        )
    return folder
