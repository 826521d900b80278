"""What a test needs of its machine, and where diffusers' pipelines are no measure."""

import pytest
import torch

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="convolutions are packed with AVX-512 only"
)

STARTED_OTHERWISE = ("PNDMScheduler", "LMSDiscreteScheduler")
"""In the middle of a schedule diffusers' pipelines start these wrongly (docs/samplers.md); `test_tables` starts
diffusers' own objects rightly and asks for the same."""
