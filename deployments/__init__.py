"""The models Medley has: capabilities and the backends that offer them, one file each.

`BACKENDS` is the one list. A profile names a backend by its key; adding one is adding a file and a line here. Importing
this package loads no engine (torch, OpenCV, ...): backends import theirs when they are loaded.
"""

from .backend import Backend
from .depth.depth_anything import DepthAnything
from .embeddings.sentence_transformers import SentenceTransformers
from .image_enhancement.cutout import Cutout
from .image_enhancement.freepik import FreepikImageEnhancement
from .image_enhancement.lambert import Lambert
from .image_enhancement.palette import Palette
from .image_enhancement.swin2sr import Swin2SR
from .image_reconstruction.vit_mae import ViTMAE
from .image_tools.opencv import OpenCVTools
from .image_translation.cyclegan import CycleGAN
from .language.llama_cpp import LlamaCpp
from .language.openai_compatible import OpenAICompatible
from .language.transformers import TransformersLanguage
from .language.vllm import VLLM
from .moderation.text_classifier import TextClassifier
from .reranking.bi_encoder import BiEncoder
from .reranking.cross_encoder import CrossEncoder
from .segmentation.fastsam import FastSAM
from .segmentation.grabcut import GrabCut
from .segmentation.sam2 import SAM2
from .speech_to_text.faster_whisper import FasterWhisper
from .speech_to_text.hugging_face import HuggingFaceSpeechToText
from .speech_to_text.moonshine import Moonshine
from .speech_to_text.pocketsphinx import PocketSphinx
from .text_recognition.pp_ocr import PPOCR
from .text_to_image.diffusers import DiffusersTextToImage
from .text_to_image.freepik import FreepikTextToImage
from .text_to_image.hugging_face import HuggingFaceTextToImage
from .text_to_speech.espeak import ESpeak
from .text_to_speech.hugging_face import HuggingFaceTextToSpeech
from .text_to_speech.kokoro import Kokoro
from .text_to_speech.mms import MMS
from .text_to_speech.piper import Piper
from .text_to_speech.xtts import XTTS
from .voice_activity.silero import Silero

BACKENDS: dict[str, type[Backend]] = {
    "bi_encoder": BiEncoder,  # reranking: by any embeddings
    "cross_encoder": CrossEncoder,  # reranking: any classifier of pairs
    "cutout": Cutout,  # image enhancement: backgrounds removed, without weights or with Mask2Former and ViTMatte
    "cyclegan": CycleGAN,  # image translation: any CycleGAN generators in safetensors
    "depth_anything": DepthAnything,  # depth: any Depth Anything network
    "diffusers": DiffusersTextToImage,  # text to image: any diffusers pipeline in safetensors
    "espeak": ESpeak,  # text to speech: eSpeak NG, about 140 languages, no weights
    "faster_whisper": FasterWhisper,  # speech to text: any Whisper in CTranslate2's format
    "fastsam": FastSAM,  # segmentation: any FastSAM; AGPL-3.0
    "freepik_image_enhancement": FreepikImageEnhancement,  # image enhancement: Magnific's upscalers, at Freepik
    "freepik_text_to_image": FreepikTextToImage,  # text to image: Mystic, Imagen 3, Flux dev, Classic fast, at Freepik
    "grabcut": GrabCut,  # segmentation: OpenCV's GrabCut, no weights
    "hugging_face_speech_to_text": HuggingFaceSpeechToText,  # speech to text: at Hugging Face Inference
    "hugging_face_text_to_image": HuggingFaceTextToImage,  # text to image: at Hugging Face Inference
    "hugging_face_text_to_speech": HuggingFaceTextToSpeech,  # text to speech: at Hugging Face Inference
    "kokoro": Kokoro,  # text to speech: Kokoro, a pleasant voice on a CPU
    "lambert": Lambert,  # image enhancement: pictures lit anew by their depth
    "llama_cpp": LlamaCpp,  # language: any GGUF, on a CPU
    "mms": MMS,  # text to speech: VITS networks of a thousand languages
    "moonshine": Moonshine,  # speech to text: English on a CPU, at a thirtieth of the recording's length
    "openai_compatible": OpenAICompatible,  # language: at OpenRouter, OpenAI, Anthropic, any vLLM
    "opencv": OpenCVTools,  # image tools: OpenCV and Pillow
    "palette": Palette,  # image enhancement: the palette of one picture for another
    "piper": Piper,  # text to speech: any voice of Piper, much faster than speech on a CPU
    "pocketsphinx": PocketSphinx,  # speech to text: US English on a CPU
    "pp_ocr": PPOCR,  # text recognition: PP-OCR, printed text on a CPU
    "sam2": SAM2,  # segmentation: any SAM 2, of pictures or of videos
    "sentence_transformers": SentenceTransformers,  # embeddings: any model of sentence-transformers
    "silero": Silero,  # voice activity: any language, with the base installation
    "swin2sr": Swin2SR,  # image enhancement: any Swin2SR network
    "text_classifier": TextClassifier,  # moderation: any classifier of texts
    "transformers": TransformersLanguage,  # language: any causal model in safetensors
    "vit_mae": ViTMAE,  # image reconstruction: any ViT-MAE network
    "vllm": VLLM,  # language: any causal model that vLLM knows, many callers in one batch
    "xtts": XTTS,  # text to speech: Coqui's XTTS, and the voice of any recording
}
