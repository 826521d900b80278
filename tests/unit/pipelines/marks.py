"""What a test needs of its machine."""

import pytest
import torch

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="convolutions are packed with AVX-512 only"
)
