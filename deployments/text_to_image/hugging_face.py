"""Text to image by Hugging Face Inference: any text-to-image model that the provider serves."""

from pydantic import Field

from ..hugging_face import HuggingFaceOptions, infer
from ..remote_answers import MOST_MEDIA
from ..remote_http import Connection
from .remote_painter import BLAME, PainterOptions, RemotePainter, Wish


class HuggingFaceTextToImage(RemotePainter):
    """A text-to-image model of the hub, painted at Hugging Face Inference or at an Inference Endpoint of one's own.

    Sizes, steps, guidance and seed are passed on as diffusers knows them; which of them a model heeds, and how far the
    same seed gives the same picture, is the provider's. See https://huggingface.co/docs/inference-providers. It does
    not edit, inpaint or check what was painted.
    """

    class Options(HuggingFaceOptions, PainterOptions):
        """Which model, and what holds when the caller does not say."""

        model: str | None = Field("black-forest-labs/FLUX.1-schnell", description="Hub name; null for an endpoint")
        steps: int | None = Field(None, ge=1, le=1000, description="The model's own by default")
        guidance: float | None = Field(None, ge=0, le=30, description="The model's own by default")

    async def paint(self, connection: Connection, wish: Wish) -> bytes:
        options = connection.options
        parameters = {
            "negative_prompt": wish.negative_prompt,
            "width": wish.width,
            "height": wish.height,
            "num_inference_steps": options.steps if wish.steps is None else wish.steps,
            "guidance_scale": options.guidance if wish.guidance is None else wish.guidance,
            "seed": wish.seed,
        }
        return await infer(
            connection, options.model, wish.prompt, parameters, bytes, BLAME, accept="image/png", most=MOST_MEDIA
        )
