"""The demo of a new service: sentences spoken by the text-to-speech model go through two graphs."""

import base64
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

from deployments.media import DATA_URL

from ..clients.http import run_graph

WISH = "show me a red circle on a blue background"
QUESTION = "what can you do"
VOICE, SPEED = "en-gb", 0.8  # Moonshine, trained on people, hears most sentences of eSpeak's badly, and this one right


def try_sample(url: str, key: str, out: Path, console: Console) -> None:
    """Speak a wish and a question, run `speech_to_image` and `voice_assistant` on them, and print the files."""
    out.mkdir(parents=True, exist_ok=True)
    for text, graph in ((WISH, "speech_to_image"), (QUESTION, "voice_assistant")):
        recording = out / f"{graph}-spoken.wav"
        recording.write_bytes(speak(url, key, text))
        console.print(Text.assemble("\n", (graph, "bold"), f", spoken: {text!r} ({recording})"), soft_wrap=True)
        run_graph(url, key, graph, [f"audio=@{recording}"], out, console)


def speak(url: str, key: str, text: str) -> bytes:
    """The text as a WAV file, made by the service itself."""
    headers = {"authorization": f"Bearer {key}"}
    spoken = {"text": text, "voice": VOICE, "speed": SPEED}
    answer = httpx.post(f"{url}/api/v1/graphs/speech", json=spoken, headers=headers, timeout=60)
    answer.raise_for_status()
    audio: str = answer.json()["audio"]
    match = DATA_URL.match(audio)
    assert match
    return base64.b64decode(audio[match.end() :])
