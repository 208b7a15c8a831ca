"""The graphs that ship with Medley, one file each; a new graph is a new file and a line here."""

from .chat import chat
from .embeddings import embeddings
from .image_background import image_background
from .image_depth import image_depth
from .image_edit import image_edit, image_inpaint, image_vary
from .image_generation import image_generation
from .image_orchestration import image_orchestration
from .image_reconstruct import image_reconstruct
from .image_relight import image_relight
from .image_segments import image_segments
from .image_stylize import image_stylize
from .image_text import image_text
from .image_translation import image_translation
from .image_upscale import image_upscale
from .image_utils import image_canny, image_crop, image_encode, image_extract_object, image_resize
from .lesson import lesson
from .moderation import moderation
from .prompt_enhancement import prompt_enhancement
from .reranking import reranking
from .smart_mask import smart_mask
from .speech import speech
from .speech_to_image import speech_to_image
from .story import story
from .transcription import transcription
from .voice_activity import voice_activity
from .voice_assistant import voice_assistant

GRAPHS = [
    chat,
    embeddings,
    reranking,
    moderation,
    prompt_enhancement,
    image_generation,
    image_orchestration,
    image_edit,
    image_inpaint,
    image_vary,
    story,
    lesson,
    transcription,
    voice_activity,
    speech,
    speech_to_image,
    voice_assistant,
    smart_mask,
    image_segments,
    image_text,
    image_resize,
    image_crop,
    image_encode,
    image_extract_object,
    image_canny,
    image_upscale,
    image_background,
    image_reconstruct,
    image_translation,
    image_depth,
    image_relight,
    image_stylize,
]
