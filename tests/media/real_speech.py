"""Recordings of people, in the package that carries Moonshine's weights, and what is said in them.

They are pulled like weights, and are no part of this repository.
"""

from pathlib import Path

from deployments.media import Audio
from deployments.speech_to_text.word_error import words as words
from serve_app.config.schema import PackagedFile, PackagedWeights, PackagePart
from serve_app.provisioning.packaged_weights import pull

CARRIER = "pypi:moonshine-voice==0.1.0"
SAID = {
    # Dickens 1859, A Tale of Two Cities, its first words, as they are read there
    "two_cities.wav": "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of light, it was "
    "the season of darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we "
    "had nothing before us, we were all going direct to heaven, we were all going direct the other way. In short, the "
    "period was so far like the present period that some of its noisiest authorities insisted on its being received, "
    "for good or for evil, in the superlative degree of comparison only.",
    "beckett.wav": "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
}
DIGESTS = {
    "two_cities.wav": "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
    "beckett.wav": "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
}
RECORDINGS = PackagedWeights(
    name="recordings/moonshine",
    licence="MIT, by Useful Sensors",
    files=[
        PackagedFile(
            name=name,
            parts=[PackagePart(package=CARRIER, path=f"moonshine_voice/assets/{name}")],
            sha256=DIGESTS[name],
        )
        for name in SAID
    ],
)


def recordings(folder: Path) -> dict[str, Audio]:
    """Each recording by what is said in it.

    Raises:
        BadWeights: they cannot be fetched.
    """
    place = pull(RECORDINGS, folder, print)
    return {text: Audio((place / name).read_bytes(), "audio/wav") for name, text in SAID.items()}
