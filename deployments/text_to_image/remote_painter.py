"""What providers share that only paint from a text: arguments checked first, a PNG of the exact size in the end."""

import math
import secrets
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from .. import pixels
from ..backend import in_thread
from ..capabilities import TextToImage
from ..errors import InvalidInput
from ..media import Image
from ..remote_http import Blame, Connection, Remote, RemoteOptions
from ..remote_media import fitted, received
from .checks import MOST_GUIDANCE, check_guidance, check_steps, check_texts

UNIT = 8  # sides are multiples of it, as with models that run here

BLAME = Blame(
    "prompt",
    {name: name for name in ("prompt", "negative_prompt", "width", "height", "seed")}
    | {"inputs": "prompt", "num_inference_steps": "steps", "guidance_scale": "guidance"},
)


@dataclass(frozen=True)
class Limits:
    """What a provider's model takes."""

    takes: frozenset[str] = frozenset({"negative_prompt", "steps", "guidance", "seed"})
    most_guidance: float = MOST_GUIDANCE
    seeds: tuple[int, int] = (0, 2**32 - 1)  # lowest, highest


@dataclass(frozen=True)
class Wish:
    """What is to be painted, checked."""

    prompt: str
    negative_prompt: str | None
    width: int
    height: int
    steps: int | None
    guidance: float | None
    seed: int | None  # None only where the model takes none


class PainterOptions(RemoteOptions):
    """What holds when the caller does not say."""

    width: int = Field(1024, ge=UNIT, le=pixels.LONGEST_SIDE, multiple_of=UNIT, description="Delivered pixels")
    height: int = Field(1024, ge=UNIT, le=pixels.LONGEST_SIDE, multiple_of=UNIT, description="Delivered pixels")
    max_side: int = Field(2048, ge=UNIT, le=pixels.LONGEST_SIDE, description="Delivered pixels, width and height each")
    max_steps: int = Field(100, ge=1, le=1000)


class RemotePainter(Remote, TextToImage):
    """Paints at a provider. A backend of it says what its model takes (`limits`) and asks for the picture (`paint`).

    A provider may paint another size than the caller names, and some know a few shapes only: the picture is scaled and
    cut to exactly that size. Without a seed a random one is sent, since providers keep answers to like requests.
    """

    def limits(self, options: Any) -> Limits:
        return Limits()

    @abstractmethod
    async def paint(self, connection: Connection, wish: Wish) -> bytes:
        """The picture as the provider sends it, in any format that is opened here."""

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
        references: list[Image] | None = None,
    ) -> Image:
        for field, value in (("adapter", adapter), ("references", references)):
            if value:
                raise InvalidInput(field, "is nothing this model takes")
        async with self._connected() as connection:
            limits = self.limits(connection.options)
            wish = _checked(connection.options, limits, prompt, negative_prompt, width, height, steps, guidance, seed)
            data = await self.paint(connection, wish)
            size = (wish.width, wish.height)
            return await in_thread(lambda cancelled: fitted(received(data, connection.host), size))


def _checked(
    options: PainterOptions,
    limits: Limits,
    prompt: str,
    negative_prompt: str | None,
    width: int | None,
    height: int | None,
    steps: int | None,
    guidance: float | None,
    seed: int | None,
) -> Wish:
    check_texts(prompt, negative_prompt)
    given = {"negative_prompt": negative_prompt or None, "steps": steps, "guidance": guidance, "seed": seed}
    for field, value in given.items():
        if value is not None and field not in limits.takes:
            raise InvalidInput(field, "is nothing this model takes")
    if steps is not None:
        check_steps(steps, options.max_steps)
    if guidance is not None:
        check_guidance(guidance, limits.most_guidance)
    lowest, highest = limits.seeds
    number = secrets.randbits(63) if seed is None else seed
    return Wish(
        prompt,
        negative_prompt or None,
        _side("width", width, options.width, options.max_side),
        _side("height", height, options.height, options.max_side),
        steps,
        guidance,
        lowest + number % (highest - lowest + 1) if "seed" in limits.takes else None,
    )


def _side(field: str, side: int | None, usual: int, most: int) -> int:
    if side is None:
        return usual
    if not (math.isfinite(side) and UNIT <= side <= most and side % UNIT == 0):
        raise InvalidInput(field, f"is {side}; it is a multiple of {UNIT} from {UNIT} to {most // UNIT * UNIT}")
    return int(side)
