"""Pixels of any colour space in sRGB, by the ICC profile that came with them.

A profile that is broken, or is one for other pixels than these, is passed over: it can fail no picture.
"""

import io
import struct
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageCms

SRGB = ImageCms.createProfile("sRGB")
MODES = {"RGB": ("RGB", "L"), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""Of each colour space that a profile may describe, the modes of pixels that it may belong to."""
NO_CHANGE = 1
"""Levels of 255: a profile that moves no colour further is sRGB's own, and pixels stay as they are."""

XY = tuple[float, float]
D65 = (0.3127, 0.3290)
REC_709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
PRIMARIES = {
    1: REC_709,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""ITU-T H.273, table 2: BT.709, BT.2020 and Display P3, all of white D65."""
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
SRGB_TRANSFER = 13
"""H.273, table 3. Curves for brighter displays are none of an init image's business."""
USUAL_GAMMA = 1 / 2.2
GAMMA_SLACK = 0.05
"""As libpng: a gamma so near to the usual one is taken for sRGB's curve."""
PRIMARY_SLACK = 0.01
CURVE_POINTS = 1024
D50 = (0.9642, 1.0, 0.8249)
"""XYZ of the white that profiles are relative to."""
BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

Matrix = Sequence[Sequence[float]]


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """L, LA, RGB, RGBA or CMYK pixels as RGB, or as RGBA where they have an alpha."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image if alpha is None else image.convert({"LA": "L", "RGBA": "RGB"}[image.mode])
    shown = _by_profile(colours, profile) if profile else colours.convert("RGB")
    if alpha is not None:
        shown.putalpha(alpha)
    return shown


def _by_profile(colours: Image.Image, profile: bytes) -> Image.Image:
    plain = colours.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if colours.mode not in MODES.get(space, ()):
            return plain
        pixels = plain if space == "RGB" else colours
        transform = ImageCms.buildTransform(source, SRGB, pixels.mode, "RGB")
        if space == "RGB" and _changes_nothing(transform):
            return plain
        return ImageCms.applyTransform(pixels, transform) or plain
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError):
        return plain


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = range(0, 256, 17)
    colours = bytes(level for red in levels for green in levels for blue in levels for level in (red, green, blue))
    sample = Image.frombytes("RGB", (64, 64), colours)
    moved = ImageChops.difference(sample, ImageCms.applyTransform(sample, transform) or sample)
    return moved.point(lambda level: 255 * (level > NO_CHANGE)).getbbox() is None


def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """The profile of a PNG's cICP; None where it is sRGB, or none that can be shown here."""
    known = primaries in PRIMARIES and (transfer == SRGB_TRANSFER or transfer in GAMMAS)
    if not known or (primaries, transfer) == (1, SRGB_TRANSFER):
        return None
    gamma = GAMMAS.get(transfer)
    return matrix_profile(PRIMARIES[primaries], D65, srgb_curve if gamma is None else lambda x: x**gamma)


def measured_profile(gamma: tuple[float, ...], chromaticities: tuple[float, ...]) -> bytes | None:
    """The profile of a PNG's gAMA and cHRM, each () where it is not there; None where they tell of sRGB."""
    exponent = gamma[0] if gamma else 0.0
    is_usual = not 0.01 <= exponent <= 10 or abs(exponent / USUAL_GAMMA - 1) <= GAMMA_SLACK
    srgb = (*D65, *(number for primary in REC_709 for number in primary))
    spaced = chromaticities or srgb
    if is_usual and all(abs(one - other) <= PRIMARY_SLACK for one, other in zip(spaced, srgb, strict=True)):
        return None
    pairs = list(zip(spaced[::2], spaced[1::2], strict=True))
    try:
        return matrix_profile(pairs[1:], pairs[0], srgb_curve if is_usual else lambda x: x ** (1 / exponent))
    except (ZeroDivisionError, struct.error):  # points that span no colours
        return None


def srgb_curve(level: float) -> float:
    """Light of a level of sRGB, both 0 to 1 (IEC 61966-2-1)."""
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def matrix_profile(primaries: Sequence[XY], white: XY, curve: Callable[[float], float]) -> bytes:
    """An ICC profile (version 2.4) of three primaries, a white, and light as a function of the level.

    Raises ZeroDivisionError or struct.error for primaries that span no colours.
    """
    columns = [_adapted(white, _xyz(primary)) for primary in primaries]
    amounts = _times(_inverse(list(zip(*columns, strict=True))), D50)
    red, green, blue = ([amount * part for part in column] for amount, column in zip(amounts, columns, strict=True))
    points = [round(65535 * min(1.0, curve(n / (CURVE_POINTS - 1)))) for n in range(CURVE_POINTS)]
    tone = b"curv\0\0\0\0" + struct.pack(f"!I{CURVE_POINTS}H", CURVE_POINTS, *points)
    return _icc(
        {b"rXYZ": _icc_xyz(red), b"gXYZ": _icc_xyz(green), b"bXYZ": _icc_xyz(blue), b"wtpt": _icc_xyz(D50)}, tone
    )


def _icc(tags: dict[bytes, bytes], tone: bytes) -> bytes:
    """Header, table and tags; one curve serves all three channels."""
    names = (*tags, b"rTRC", b"gTRC", b"bTRC")
    start = 128 + 4 + 12 * len(names)
    table, body = struct.pack("!I", len(names)), b""
    for name in names:
        shared = name not in tags
        at = start + (sum(map(len, tags.values())) if shared else len(body))
        table += name + struct.pack("!II", at, len(tone if shared else tags[name]))
        body += b"" if shared else tags[name]
    size = start + len(body) + len(tone)
    header = struct.pack("!II", size, 0) + b"\x02\x40\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return header + _icc_numbers(D50) + bytes(48) + table + body + tone


def _icc_xyz(xyz: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _icc_numbers(xyz)


def _icc_numbers(numbers: Sequence[float]) -> bytes:
    return struct.pack("!3i", *(round(number * 65536) for number in numbers))


def _xyz(xy: XY) -> tuple[float, float, float]:
    x, y = xy
    return x / y, 1.0, (1 - x - y) / y


def _adapted(white: XY, xyz: Sequence[float]) -> list[float]:
    """As a colour looks under D50 that looked so under this white (Bradford; ICC.1, annex E)."""
    have, want = _times(BRADFORD, _xyz(white)), _times(BRADFORD, D50)
    cones = [cone * to / of for cone, to, of in zip(_times(BRADFORD, xyz), want, have, strict=True)]
    return _times(_inverse(BRADFORD), cones)


def _times(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _inverse(matrix: Matrix) -> list[list[float]]:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    adjugate = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    determinant = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0]
    return [[value / determinant for value in row] for row in adjugate]
