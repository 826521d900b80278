"""`python -m models.pocket.training [STAGE ...]`: trains the pocket model; without a stage, all of them in order.

Every stage resumes where it stopped: its state lies under build/pocket.
"""

import sys
from collections.abc import Callable

from models.pocket.training.denoiser import train_denoiser
from models.pocket.training.tokenizer import train_tokenizer
from models.pocket.training.vae import train_vae

STAGES: dict[str, Callable[[], object]] = {
    "tokenizer": train_tokenizer,
    "vae": lambda: train_vae(1300),
    "denoiser": lambda: train_denoiser(2000),
}

for stage in sys.argv[1:] or STAGES:
    STAGES[stage]()
