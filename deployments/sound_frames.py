"""How long a packet of coded sound plays, by its first bytes, where the codec says so and its decoder obeys."""

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
