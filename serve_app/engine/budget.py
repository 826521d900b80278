"""How wide a UNet call may be, for pictures of any size, from what was measured or set for one."""

from dataclasses import dataclass

from serve_app.engine.state import GroupKey

LATENT_PIXEL = 64
"""Pixels of a picture for each latent pixel."""
GUIDED = 2
"""UNet rows of a guided sample."""


@dataclass(frozen=True, slots=True)
class CallBudget:
    """Calls of as many latent pixels for every size."""

    rows: int
    """UNet rows of a call whose rows have `pixels` latent pixels each."""
    pixels: int

    def of(self, group: GroupKey) -> int:
        """UNet rows of a group's calls: whole guided samples, rounded up, so that there is always room for one."""
        return GUIDED * -(-self.rows * self.pixels // (GUIDED * group.pixels))
