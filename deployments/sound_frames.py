"""What a packet of coded sound says of itself: how long it plays, and how many frames it holds."""

import re

ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # MPEG 1, 2, 2.5


def opus_seconds(head: bytes) -> float | None:
    """Of an Opus packet (RFC 6716, section 3.1); None without a head."""
    if not head:
        return None
    mode, frames = head[0] >> 3, (1, 2, 2, head[1] & 0x3F if len(head) > 1 else 1)[head[0] & 3]
    lengths = (10, 20, 40, 60) if mode < 12 else (10, 20, 10, 20) if mode < 16 else (2.5, 5, 10, 20)
    return lengths[mode % 4] * frames / 1000


def adts_seconds(head: bytes) -> float | None:
    """Of a frame of AAC with its ADTS head (ISO/IEC 14496-3, 1.A.3.2); None where there is none."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    index = head[2] >> 2 & 0xF
    return 1024 * ((head[6] & 3) + 1) / ADTS_RATES[index] if index < len(ADTS_RATES) else None


def mpeg_seconds(head: bytes) -> float | None:
    """Of a frame of MP1, MP2 or MP3 (ISO/IEC 11172-3, 2.4.1.3); None where there is no head."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, index = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    if version not in MPEG_RATES or layer == 4 or index == 3:
        return None
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return samples / MPEG_RATES[version][index]


# A FLAC frame's head up to its number: sync, a block size, a rate, channels (RFC 9639, section 9.1).
FLAC_HEAD = re.compile(rb"\xff[\xf8\xf9](?=[\x10-\xfe][\x00-\xaf])", re.DOTALL)


def flac_frames(data: bytes, most: int) -> int:
    """How many FLAC frames begin in a packet, counted up to `most` by heads whose checksum is right.

    It is `most` too where far more bytes look like a head than do so by chance (a sample of -8 does).
    """
    found = 0
    for looked, match in enumerate(FLAC_HEAD.finditer(data), 1):
        found += _is_flac_head(data, match.start())
        if found >= most or looked >= most + len(data) // 256:
            return most
    return found


def _is_flac_head(data: bytes, at: int) -> bool:
    sizes, rates = data[at + 2] >> 4, data[at + 2] & 15
    if rates == 15 or data[at + 3] & 1 or at + 5 > len(data):
        return False
    number = max(1, 8 - (data[at + 4] ^ 0xFF).bit_length())  # bytes of it, in UTF-8
    more = {6: 1, 7: 2}.get(sizes, 0) + {12: 1, 13: 2, 14: 2}.get(rates, 0)
    end = at + 4 + number + more
    return end < len(data) and _crc8(data[at:end]) == data[end]


def _crc8(data: bytes) -> int:
    """The checksum of FLAC's heads: polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
