"""Texts as phonemes of the International Phonetic Alphabet, by eSpeak NG's dictionaries and rules."""

import ctypes
import re
import threading

from ..backend import turn
from ..errors import ModelUnavailable
from .espeak import CHARS_UTF8, LOCK, identifier_of, library_of_espeak

IPA = 0x02  # of espeak_TextToPhonemes
MARKS = re.compile(r"([;:,.!?¡¿—…\"«»“”()]+\s*)")  # which eSpeak takes for pauses, and leaves out


def phonemes(text: str, language: str, cancelled: threading.Event) -> str:
    """What a text sounds like, with its punctuation: `Hello, world.` is `həlˈoʊ, wˈɜːld.`

    Args:
        language: a voice of eSpeak, such as `en-us`.

    Raises:
        CancelledError: `cancelled` was set while another text was worked on.
        ModelUnavailable: eSpeak has no such voice.
    """
    voice = identifier_of(language)  # before the lock, which it takes
    with turn(LOCK, cancelled.is_set):
        library, _ = library_of_espeak()
        if library.espeak_SetVoiceByName(voice.encode()):
            raise ModelUnavailable(f"eSpeak NG could not read its voice {language}")
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        return "".join(part if MARKS.fullmatch(part) else _said(library, part) for part in MARKS.split(text))


def _said(library: ctypes.CDLL, text: str) -> str:
    """The phonemes of words without punctuation. eSpeak gives them clause by clause."""
    if not text.strip():
        return text
    rest, found = ctypes.c_char_p(text.encode("utf-8", "replace")), list[str]()
    while rest.value:
        found.append((library.espeak_TextToPhonemes(ctypes.byref(rest), CHARS_UTF8, IPA) or b"").decode())
    return " ".join(found).replace("_", "") + (" " if text[-1].isspace() else "")
