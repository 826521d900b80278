"""`python -m models.pocket.training [STAGE ...]`: trains the pocket model; without a stage, all of them in order.

Every stage resumes where it stopped: its state lies under build/pocket.
"""

import sys
from collections.abc import Callable

from models.pocket.training.denoiser import train_denoiser
from models.pocket.training.index import write_index
from models.pocket.training.inversion import train_inversion
from models.pocket.training.pastel import make_pastel
from models.pocket.training.refinement import train_refinement
from models.pocket.training.safety import train_safety
from models.pocket.training.shaping import train_shaping
from models.pocket.training.styles import train_styles
from models.pocket.training.tokenizer import train_tokenizer
from models.pocket.training.vae import train_decoder, train_vae

STAGES: dict[str, Callable[[], object]] = {
    "tokenizer": train_tokenizer,
    "vae": lambda: train_vae(1400),
    "decoder": lambda: train_decoder(1700),
    "denoiser": train_denoiser,
    "shaping": lambda: train_shaping(2200),
    "safety": lambda: train_safety(1500),
    "index": write_index,
    "refinement": lambda: train_refinement(400),
    "pastel": make_pastel,
    "styles": lambda: train_styles(250),
    "inversion": lambda: train_inversion(120),
}

for stage in sys.argv[1:] or STAGES:
    STAGES[stage]()
