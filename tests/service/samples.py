"""One good request for every graph. A graph without one fails the test of the registry."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, ImageOps

from deployments.media import DATA_URL, Audio, Image, Media


def png(picture: Pillow.Image) -> Image:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Image(buffer.getvalue(), "image/png")


def disc() -> Image:
    """A red disc on grey, 120 x 80 pixels, centre (60, 40), radius 20."""
    picture = Pillow.new("RGB", (120, 80), "lightgrey")
    ImageDraw.Draw(picture).ellipse((40, 20, 80, 60), fill="red")
    return png(picture)


def sunset() -> Image:
    """From yellow to violet."""
    return png(ImageOps.colorize(Pillow.linear_gradient("L"), "gold", "indigo"))


def disc_mask() -> Image:
    picture = Pillow.new("L", (120, 80), 0)
    ImageDraw.Draw(picture).ellipse((40, 20, 80, 60), fill=255)
    return png(picture)


def sign(text: str) -> Image:
    """A text in black on white."""
    picture = Pillow.new("RGB", (320, 80), "white")
    ImageDraw.Draw(picture).text((20, 20), text, fill="black", font=ImageFont.load_default(36))
    return png(picture)


def opened(media: Media | str) -> Pillow.Image:
    data = media.data if isinstance(media, Media) else from_url(media)
    return Pillow.open(io.BytesIO(data))


def from_url(url: str) -> bytes:
    found = DATA_URL.match(url)
    assert found, url[:60]
    return base64.b64decode(url[found.end() :])


NO_MODEL_HERE = {
    "image_depth",
    "image_relight",
    "image_segments",
    "moderation",
}  # graphs for which the starter profile has no model that can
# Moonshine heard it right in forty of forty syntheses; eSpeak never speaks a text twice in the same way.
SPOKEN = {"text": "show me a red circle on a blue background", "voice": "en-gb", "speed": 0.8}


@dataclass(frozen=True)
class Samples:
    """Requests by graph, as Python values: media are Media, to be sent as the surface wants them."""

    requests: dict[str, dict[str, Any]]
    folder: Path

    @classmethod
    def make(cls, client: httpx.Client, folder: Path) -> "Samples":
        """The recording is spoken by the service itself."""
        spoken = client.post("/api/v1/graphs/speech", json=SPOKEN)
        assert spoken.status_code == 200, spoken.text
        audio = Audio(from_url(spoken.json()["audio"]), "audio/wav")
        return cls(
            {
                "chat": {"messages": [{"role": "user", "content": "What can you do?"}], "seed": 1},
                "embeddings": {"texts": ["a cat", "a kitten"]},
                "reranking": {"query": "Which animal barks?", "documents": ["A dog barks.", "Cats purr."]},
                "moderation": {"texts": ["I will help you."]},
                "prompt_enhancement": {"wish": "a red circle on blue", "seed": 1},
                "image_generation": {"prompt": "a red circle on a blue background", "seed": 1},
                "image_orchestration": {"prompt": "a red circle on a blue background", "seed": 1},
                "image_edit": {"image": disc(), "prompt": "a large blue circle on white", "seed": 1},
                "image_inpaint": {"image": disc(), "mask": disc_mask(), "prompt": "a blue square on white", "seed": 1},
                "image_vary": {"image": disc(), "seed": 1},
                "story": {"about": "a brave fox", "scenes": 2, "seed": 1},
                "lesson": {"about": "volcanoes", "points": 2, "seed": 1},
                "transcription": {"audio": audio},
                "voice_activity": {"audio": audio},
                "speech": {"text": "Hello, I am Medley."},
                "speech_to_image": {"audio": audio, "seed": 1},
                "voice_assistant": {"audio": audio},
                "smart_mask": {"image": disc(), "points": [[60, 40]]},
                "image_segments": {"image": disc(), "limit": 3},
                "image_text": {"image": sign("Medley reads")},
                "image_resize": {"image": disc(), "width": 60},
                "image_crop": {"image": disc(), "box": [40, 20, 80, 60]},
                "image_encode": {"image": disc(), "format": "jpeg"},
                "image_extract_object": {"image": disc(), "mask": disc_mask()},
                "image_canny": {"image": disc()},
                "image_upscale": {"image": disc(), "scale": 4},
                "image_background": {"image": disc()},
                "image_reconstruct": {"image": disc(), "mask": disc_mask()},
                "image_depth": {"image": disc()},
                "image_stylize": {"image": disc(), "style": sunset()},
                "image_relight": {"image": disc(), "depth": disc_mask(), "direction": [1, 0, 1]},
                "image_translation": {"image": disc(), "direction": "day-to-night"},
            },
            folder,
        )

    def json(self, graph: str) -> dict[str, Any]:
        """With media as data URLs."""
        return {name: value.url if isinstance(value, Media) else value for name, value in self.requests[graph].items()}

    def form(self, graph: str) -> list[tuple[str, Any]]:
        """As parts of a multipart form, media as files."""
        import json

        parts: list[tuple[str, Any]] = []
        for name, value in self.requests[graph].items():
            if isinstance(value, Media):
                parts.append((name, (f"{name}{value.suffix}", value.data, value.media_type)))
            else:
                parts.append((name, (None, value if isinstance(value, str) else json.dumps(value))))
        return parts

    def command(self, graph: str) -> list[str]:
        """As arguments of `medley run`, media as files on disk."""
        import json

        arguments: list[str] = []
        for name, value in self.requests[graph].items():
            if isinstance(value, Media):
                path = self.folder / f"{graph}-{name}{value.suffix}"
                path.write_bytes(value.data)
                arguments.append(f"{name}=@{path}")
            else:
                arguments.append(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
        return arguments
