"""The UNet's convolutions and linear layers as a CPU does them best.

Their weights lie as oneDNN wants them, by the operators that torch's own compiler uses for frozen models. Faster: eager
torch reorders a convolution's weights in each call, and multiplies matrices by MKL, half as fast on AMD's CPUs. And
steadier: for few rows torch picks other kernels, that sum in another order; here a row comes out bit for bit the same,
however many rows share its call.
"""

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

MOST_BYTES = 64 * 2**20
"""Of the weights that are packed, which are then held twice. The gain was measured on small networks."""
BLOCK, LATENT_CHANNELS = 64, 4
"""Numbers of channels whose layout is the same for every picture."""
OPERATORS = (
    "_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight", "_linear_pointwise",
)  # fmt: skip
"""Torch's, of its `mkldnn` library; they are private."""


def settle_on_cpu(unet: UNet2DConditionModel) -> None:
    """Where all of it can be packed, else nothing is done. The modules keep their weights, names and hooks."""
    if unet.device.type != "cpu" or unet.dtype != torch.float32 or not _can_pack():
        return
    layers = [module for module in unet.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    small = sum(layer.weight.nbytes for layer in layers) <= MOST_BYTES
    if not small or not all(_keeps_layout(layer) for layer in layers if isinstance(layer, nn.Conv2d)):
        return
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.forward = _packed_convolution(layer)  # type: ignore[method-assign, assignment]
        elif layer.in_features % BLOCK == layer.out_features % BLOCK == 0:
            layer.forward = _packed_product(layer)  # type: ignore[method-assign, assignment]


def _can_pack() -> bool:
    """With narrower vectors the layout depends on the picture's size, and one for another size costs milliseconds."""
    known = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)
    return known and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _keeps_layout(module: nn.Conv2d) -> bool:
    """Likewise with other numbers of channels than multiples of a block, beside the latents'."""
    blocks = {module.in_channels % BLOCK, module.out_channels % BLOCK}
    return blocks <= {0, LATENT_CHANNELS} and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _packed_convolution(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    layout = module.padding, module.stride, module.dilation, module.groups
    bias = module.bias
    with torch.inference_mode():
        weight = torch.ops.mkldnn._reorder_convolution_weight(module.weight, *layout)
    convolve = torch.ops.mkldnn._convolution_pointwise
    return lambda x: convolve(x, weight, bias, *layout, "none", [], "")


def _packed_product(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    bias = module.bias
    with torch.inference_mode():
        weight = torch.ops.mkldnn._reorder_linear_weight(module.weight)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda x: multiply(x, weight, bias, "none", [], "")
