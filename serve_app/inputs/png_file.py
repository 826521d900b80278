"""PNG without what makes no pixels (PNG specification, third edition); what is damaged is passed over as libpng does.

Inflates nothing but an ICC profile, up to a bound, and pixels that Pillow could not read.
"""

import struct
import zlib
from collections.abc import Iterator

from serve_app.inputs.colour import coded_profile, measured_profile
from serve_app.inputs.essence import LARGEST_PROFILE, MOST_MISSING, Essence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of each colour type."""
GREY, RGB, PALETTE = 0, 2, 3
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Each pass of an interlaced picture: its first column and row, and the steps between them."""
LIKE_THE_ROW_ABOVE = b"\x02"
"""The filter type that adds a row's bytes to those above it."""
PIECE = 4096
WRITTEN_EXIF = b"Raw profile type exif"
"""The keyword under which ImageMagick writes EXIF as text, in hexadecimal; kept here as if it were a chunk's name."""
LARGEST_EXIF = 2**20

Chunks = dict[bytes, bytes]


def essence(data: bytes) -> Essence:
    """The pixels' own chunks. Raises ValueError or struct.error where these are not there."""
    chunks = _first_of_each(data)
    header = chunks.get(b"IHDR", b"")
    depth, color = header[8], header[9]
    kept = [b"IHDR", b"PLTE", *([b"tRNS"] if color == PALETTE else []), b"IDAT"]
    return Essence(
        _file({name: chunks[name] for name in kept if name in chunks}),
        profile=_profile(chunks),
        exif=chunks.get(b"eXIf") or _written_exif(chunks.get(WRITTEN_EXIF, b"")),
        key=_key(chunks.get(b"tRNS", b""), color),
        depth=depth,
    )


def completed(data: bytes) -> bytes:
    """An essence's file whose pixels could not be read, with its last rows or checksum mended.

    Raises ValueError where more is missing than may be.
    """
    chunks = _first_of_each(data)
    rows = list(_row_lengths(chunks[b"IHDR"]))
    pixels = _inflated(chunks[b"IDAT"], sum(rows))
    if len(pixels) < (1 - MOST_MISSING) * sum(rows):
        raise ValueError("too many rows are missing")
    whole = bytearray()
    for length in rows:
        row = pixels[len(whole) : len(whole) + length]
        whole += row if len(row) == length else LIKE_THE_ROW_ABOVE + bytes(length - 1)
    return _file({**chunks, b"IDAT": zlib.compress(whole, 0)})


def _first_of_each(data: bytes) -> Chunks:
    """The first chunk of each kind; the pixels' are joined. Ancillary ones whose checksum is wrong are left out."""
    found: Chunks = {}
    pixels = []
    for name, body, checksum in _chunks(data):
        if name == b"IDAT":
            pixels.append(body)
        elif name in found and not _is_written_exif(name, body):
            continue
        elif checksum == struct.pack("!I", zlib.crc32(body, zlib.crc32(name))):
            found[WRITTEN_EXIF if _is_written_exif(name, body) else name] = bytes(body)
        elif name in (b"IHDR", b"PLTE"):
            raise ValueError(f"{name!r} is damaged")
    return {**found, b"IDAT": b"".join(pixels)}


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes]]:
    """Name, body and checksum of each chunk up to the end, or to where there is no next one."""
    view, start = memoryview(data), len(SIGNATURE)
    while start + 8 <= len(data):
        length, name = struct.unpack_from("!I4s", data, start)
        if not name.isalpha() or name == b"IEND":
            return
        end = start + 8 + length
        yield name, view[start + 8 : end], data[end : end + 4]
        start = end + 4


def _file(chunks: Chunks) -> bytes:
    parts = [SIGNATURE]
    for name, body in (*chunks.items(), (b"IEND", b"")):
        parts += [struct.pack("!I", len(body)), name, body, struct.pack("!I", zlib.crc32(body, zlib.crc32(name)))]
    return b"".join(parts)


def _key(transparency: bytes, color: int) -> tuple[int, ...] | None:
    count = {GREY: 1, RGB: 3}.get(color, 0)
    return struct.unpack_from(f"!{count}H", transparency) if count and len(transparency) >= 2 * count else None


def _profile(chunks: Chunks) -> bytes | None:
    """In the specification's order: cICP, iCCP, sRGB, then gAMA with cHRM."""
    coding = chunks.get(b"cICP", b"")
    if len(coding) == 4:
        return coded_profile(coding[0], coding[1])
    if b"iCCP" in chunks:
        return _inflated_profile(chunks[b"iCCP"])
    if b"sRGB" in chunks:
        return None
    return measured_profile(_numbers(chunks, b"gAMA", 1), _numbers(chunks, b"cHRM", 8))


def _inflated_profile(body: bytes) -> bytes | None:
    """Of an iCCP chunk: a name, NUL, the method, deflated bytes."""
    _, _, rest = body.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(rest[1:], LARGEST_PROFILE + 1)
    except zlib.error:
        return None
    return profile if 0 < len(profile) <= LARGEST_PROFILE else None


def _is_written_exif(name: bytes, body: memoryview) -> bool:
    return name in (b"tEXt", b"zTXt") and bytes(body[: len(WRITTEN_EXIF) + 1]) == WRITTEN_EXIF + b"\0"


def _written_exif(body: bytes) -> bytes | None:
    """Three lines of head and lines of digits; a text chunk that is deflated has a zero before it."""
    text = body[len(WRITTEN_EXIF) + 1 :]
    try:
        if text.startswith(b"\0"):
            text = zlib.decompressobj().decompress(text[1:], LARGEST_EXIF)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")) or None
    except (zlib.error, ValueError):
        return None


def _numbers(chunks: Chunks, name: bytes, count: int) -> tuple[float, ...]:
    body = chunks.get(name, b"")
    return tuple(n / 100_000 for n in struct.unpack(f"!{count}I", body)) if len(body) == 4 * count else ()


def _row_lengths(header: bytes) -> Iterator[int]:
    """Bytes of each row as it is deflated, its filter type before it."""
    width, height, depth, color, _, _, interlaced = struct.unpack("!IIBBBBB", header[:13])
    bits = CHANNELS[color] * depth
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            yield from (1 + -(-columns * bits // 8) for _ in range(rows))


def _inflated(deflated: bytes, most: int) -> bytes:
    """As much as can be had, without the checksum behind it."""
    inflater, out, start = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 2
    try:
        while start < len(deflated) and len(out) < most and not inflater.eof:
            out += inflater.decompress(inflater.unconsumed_tail + deflated[start : start + PIECE], most - len(out))
            start += PIECE
    except zlib.error:
        pass
    return bytes(out)
