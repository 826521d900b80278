"""What a test needs of its machine."""

import platform

import pytest
import torch

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="convolutions are packed with AVX-512 only"
)
needs_x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="how the VAE rounds is known of x86 alone"
)
