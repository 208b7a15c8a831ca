"""Channels of opposite phase, which would be silence when they are mixed to one."""

from typing import Any

CANCELLED = 0.01  # of the loudest channel's power: 20 dB below it nothing is understood any more


def uncancelled(frame: Any) -> Any:
    """A decoded frame whose channels can be mixed: where the mix cancels, all of them are the loudest one.

    Such recordings are made with a cable that is wired the wrong way round, or by a microphone that sends its signal
    balanced, and sound almost right over loudspeakers.
    """
    import numpy as np

    channels = frame.layout.nb_channels
    if channels < 2:
        return frame
    samples = frame.to_ndarray()
    planar = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    levels = planar.astype(np.float32) - (128 if samples.dtype == np.uint8 else 0)  # uint8 has its zero there
    powers = np.square(levels).mean(1)
    loudest = int(powers.argmax())
    if np.square(levels.mean(0)).mean() >= CANCELLED * powers[loudest]:
        return frame
    return _all_of_one(frame, planar[loudest], channels)


def _all_of_one(frame: Any, channel: Any, channels: int) -> Any:
    import av
    import numpy as np

    planar = np.tile(channel, (channels, 1))
    samples = planar if frame.format.is_planar else planar.T.reshape(1, -1)
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=frame.format.name, layout=frame.layout)
    made.sample_rate, made.time_base = frame.sample_rate, frame.time_base
    return made
