"""The models Medley has: capabilities and the backends that offer them, one file each.

`BACKENDS` is the one list. A profile names a backend by its key; adding one is adding a file and a line here. Importing
this package loads no engine (torch, OpenCV, ...): backends import theirs when they are loaded.
"""

from typing import Any

from .image_enhancement.swin2sr import Swin2SR
from .image_reconstruction.vit_mae import ViTMAE
from .image_tools.opencv import OpenCVTools
from .image_translation.cyclegan import CycleGAN
from .language.transformers import TransformersLanguage
from .segmentation.grabcut import GrabCut
from .speech_to_text.faster_whisper import FasterWhisper
from .speech_to_text.pocketsphinx import PocketSphinx
from .text_to_image.diffusers import DiffusersTextToImage
from .text_to_speech.espeak import ESpeak

BACKENDS: dict[str, type[Any]] = {
    "cyclegan": CycleGAN,  # image translation: any CycleGAN generators in safetensors
    "diffusers": DiffusersTextToImage,  # text to image: any diffusers pipeline in safetensors
    "espeak": ESpeak,  # text to speech: eSpeak NG, about 140 languages, no weights
    "faster_whisper": FasterWhisper,  # speech to text: any Whisper in CTranslate2's format
    "grabcut": GrabCut,  # segmentation: OpenCV's GrabCut, no weights
    "opencv": OpenCVTools,  # image tools: OpenCV and Pillow
    "pocketsphinx": PocketSphinx,  # speech to text: US English on a CPU
    "swin2sr": Swin2SR,  # image enhancement: any Swin2SR network
    "transformers": TransformersLanguage,  # language: any causal model in safetensors
    "vit_mae": ViTMAE,  # image reconstruction: any ViT-MAE network
}
