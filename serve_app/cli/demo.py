"""The first try: a sentence spoken by the text-to-speech model goes through two pipelines, the results are kept."""

import base64
from pathlib import Path

import httpx
from rich.console import Console

from deployments.media import DATA_URL

from ..clients.http import run_graph

WISH = "a red circle on a blue background"
QUESTION = "what can you do"
VOICE = "en-us+f2"  # the one PocketSphinx hears best: its acoustic model was made from people, not from eSpeak


def try_sample(url: str, key: str, out: Path, console: Console) -> None:
    """Speak a wish and a question, send them through `speech_to_image` and `voice_assistant`, name the files."""
    out.mkdir(parents=True, exist_ok=True)
    for text, graph in ((WISH, "speech_to_image"), (QUESTION, "voice_assistant")):
        recording = out / f"{graph}-spoken.wav"
        recording.write_bytes(speak(url, key, text))
        console.print(f"\n[bold]{graph}[/bold], spoken: {text!r} ({recording})", highlight=False)
        run_graph(url, key, graph, [f"audio=@{recording}"], out, console)


def speak(url: str, key: str, text: str) -> bytes:
    """The text as a WAV file, made by the service itself."""
    headers = {"authorization": f"Bearer {key}"}
    spoken = {"text": text, "voice": VOICE, "speed": 0.9}
    answer = httpx.post(f"{url}/api/v1/graphs/speech", json=spoken, headers=headers, timeout=60)
    answer.raise_for_status()
    audio: str = answer.json()["audio"]
    found = DATA_URL.match(audio)
    assert found
    return base64.b64decode(audio[found.end() :])
