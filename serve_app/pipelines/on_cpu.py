"""The UNet's convolutions and time embeddings as a CPU does them best.

Faster: torch's eager mode reorders a convolution's weights in each call; here they lie as oneDNN wants them, by the
operators that torch's own compiler uses for frozen models. And steadier: for few rows torch picks other kernels, that
sum in another order; here a row's result does not depend on how many rows share its call. With one thread it is the
same bit for bit; with several, where they share the rows unevenly, nearly.
"""

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

MOST_BYTES = 64 * 2**20
"""Of a network's convolutions, which are then held twice. Larger networks reorder for a small part of their time."""
BLOCK, LATENT_CHANNELS = 64, 4
"""Numbers of channels whose layout is the same for every picture."""
EMBEDDINGS = (".time_emb_proj", "embedding.linear_1", "embedding.linear_2")
"""Ends of the names of those linear layers in diffusers' UNets that see one vector a row."""
LEAST_VECTORS = 4
"""A thread. With fewer, MKL's products sum in another order."""


def settle_on_cpu(unet: UNet2DConditionModel) -> None:
    """In float32, else nothing is done. The modules keep their weights, names and hooks."""
    if unet.device.type != "cpu" or unet.dtype != torch.float32:
        return
    for name, module in unet.named_modules():
        if name.endswith(EMBEDDINGS):
            module.forward = _widened(module.forward)
    convolutions = [module for module in unet.modules() if isinstance(module, nn.Conv2d)]
    small = sum(module.weight.nbytes for module in convolutions) <= MOST_BYTES
    if _can_pack() and small and all(map(_packs, convolutions)):
        for module in convolutions:
            module.forward = _packed(module)  # type: ignore[method-assign, assignment]


def _can_pack() -> bool:
    """With narrower vectors the layout depends on the picture's size, and one for another size costs milliseconds."""
    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return known and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _packs(module: nn.Conv2d) -> bool:
    """Likewise with other numbers of channels than multiples of a block, beside the latents'."""
    blocks = {module.in_channels % BLOCK, module.out_channels % BLOCK}
    return blocks <= {0, LATENT_CHANNELS} and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _packed(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    layout = module.padding, module.stride, module.dilation, module.groups
    bias = module.bias
    with torch.inference_mode():
        weight = torch.ops.mkldnn._reorder_convolution_weight(module.weight, *layout)
    convolve = torch.ops.mkldnn._convolution_pointwise
    return lambda x: convolve(x, weight, bias, *layout, "none", [], "")


def _widened(make: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(vectors: Tensor) -> Tensor:
        missing = -len(vectors) % (LEAST_VECTORS * torch.get_num_threads())
        return make(nn.functional.pad(vectors, (0, 0, 0, missing)))[: len(vectors)]

    return forward
