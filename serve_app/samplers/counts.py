"""How many steps strength leaves, and how many UNet evaluations they take: the one place that counts them.

Plain numbers, without torch: cost, progress, eta and answers count here what the samplers will do.
"""

from decimal import ROUND_FLOOR, Decimal

SECOND_ORDER = (
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
)
"""Two evaluations a step, and one for the last."""
INVERSION = "DDIMInverseScheduler"
"""All steps up without guidance, then down again with it."""
WARMED_UP = "PNDMScheduler"
"""Its second evaluation repeats its first step."""


def kept_steps(steps: int, strength: float) -> int:
    """The steps that `strength`, 0..1, leaves of `steps`, rounded down; one at least where it is above 0.

    Counted in decimals, as the strength was written: 50 x 0.58 is 29, where floats make it 28.999...
    """
    if strength <= 0:
        return 0
    exact = (steps * Decimal(repr(float(strength)))).to_integral_value(ROUND_FLOOR)
    return min(max(1, int(exact)), steps)


def evaluations(steps: int, strength: float, sampler: str | None) -> int:
    """UNet evaluations of one sample, 0 where strength is. `sampler` is a name of SAMPLER_NAMES; None counts as an
    ordinary one, so give the model's own where it is known."""
    kept = kept_steps(steps, strength)
    if sampler in SECOND_ORDER:
        return max(0, 2 * kept - 1)
    if sampler == INVERSION:
        return 2 * kept
    return kept + (sampler == WARMED_UP and kept > 1)
