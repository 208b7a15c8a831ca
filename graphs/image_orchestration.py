"""Orchestration of a picture: categorize a plain wish, add the category's technical terms, select the best model."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language, TextToImage
from deployments.media import Image
from deployments.prompt_category import Category, category_of
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH, enhance
from .prompt_fitting import fitting

# The terms a professional would add: on the view, the light and the arrangement.
DETAILS: dict[Category, tuple[str, ...]] = {
    "portrait": ("85 mm lens", "soft window light", "shallow depth of field"),
    "animal": ("telephoto lens", "eye level", "fine fur and feather detail"),
    "landscape": ("wide angle", "golden hour light", "foreground, middle and far distance"),
    "architecture": ("straight verticals", "even daylight", "two-point perspective"),
    "product": ("studio lighting", "plain background", "sharp focus"),
    "food": ("close-up from above at an angle", "warm side light", "fresh texture"),
    "logo": ("flat colours", "clear outline", "centred on a plain background"),
    "illustration": ("clean lines", "limited palette", "clear silhouette"),
    "abstract": ("bold colours", "balanced composition", "clean edges"),
}
USUAL = ("clear subject", "balanced composition", "good light")


class ImageOrchestrationRequest(BaseModel):
    prompt: str = Field(
        min_length=1, max_length=MAX_WISH, description="What to paint", examples=["an old lighthouse by the sea"]
    )
    category: Category | None = Field(
        default=None, description="Category of the picture; derived from the prompt if absent"
    )
    style: str | None = Field(
        default=None, max_length=200, description="A style, such as watercolour; goes before the details"
    )
    details: bool = Field(default=True, description="Add the category's technical terms that the prompt lacks")
    enhance: bool = Field(default=False, description="Let a language model expand the prompt first")
    width: int | None = Field(default=None, ge=16, le=4096, description="Pixels; the model's default if absent")
    height: int | None = Field(default=None, ge=16, le=4096, description="Pixels; the model's default if absent")
    seed: int | None = Field(default=None, ge=0, lt=2**32, description="The same seed gives the same picture")


class ImageOrchestrationResult(BaseModel):
    category: Category
    prompt: str = Field(description="The prompt that was painted")
    image: Image


def detailed(prompt: str, category: Category, style: str | None, details: bool) -> str:
    """The prompt with its style and the category's technical terms that it lacks."""
    added = [style.strip()] if style else []
    if details:
        added += DETAILS.get(category, USUAL)
    present = prompt.lower()
    return ", ".join([prompt.strip().rstrip(".,"), *(terms for terms in added if terms.lower() not in present)])


@graph(title="Orchestrate an image", auto=("painter",))
async def image_orchestration(
    request: ImageOrchestrationRequest, painter: TextToImage, writer: Language
) -> ImageOrchestrationResult:
    """Find the category of a wish, add the category's technical terms, and paint it with the most suitable model.

    If this model or its provider does not answer, the next best model paints. If the model would not read the whole
    prompt, the added terms are left out.
    """
    category = request.category or category_of(request.prompt)
    wishes = [request.prompt]
    if request.enhance:
        wishes.insert(0, await enhance(request.prompt, None, writer, request.seed))
    prompt, image = await fitting(
        lambda prompt: painter.generate(prompt, width=request.width, height=request.height, seed=request.seed),
        *(detailed(wish, category, request.style, more) for wish in wishes for more in (request.details, False)),
    )
    return ImageOrchestrationResult(category=category, prompt=prompt, image=image)
