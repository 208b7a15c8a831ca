"""Tiny random painters of the families people use, and what is laid over them, in the layouts that real ones have."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false
import json
from pathlib import Path
from typing import Any, Literal

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CLIP_READS = 77  # tokens, as the real one
FLUX_WIDTH = 64  # of all that goes into a linear layer: bitsandbytes packs so many numbers together
QwenEdit = Literal["QwenImageEditPipeline", "QwenImageEditPlusPipeline"]
QWEN_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def write_sdxl(folder: Path) -> Path:
    """Two text encoders, the size of the picture among what the network is told."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    tokenizer = clip_tokenizer(folder)
    StableDiffusionXLPipeline(
        vae=small_vae(),
        text_encoder=CLIPTextModel(clip_text()),
        text_encoder_2=CLIPTextModelWithProjection(clip_text()),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=louder(unet),
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(folder)
    return folder


def write_stable_diffusion(folder: Path) -> Path:
    """A billion random weights, of Stable Diffusion 1's size, for 512 x 512 pixels; made on the GPU, in bfloat16."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer, text = clip_tokenizer(folder), clip_text(768)
    text.num_hidden_layers, text.num_attention_heads, text.intermediate_size = 12, 12, 3072
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            parts = {
                "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
                "vae": AutoencoderKL(
                    block_out_channels=(128, 256, 512, 512),
                    layers_per_block=2,
                    down_block_types=("DownEncoderBlock2D",) * 4,
                    up_block_types=("UpDecoderBlock2D",) * 4,
                ),
                "text_encoder": CLIPTextModel(text),
            }
    finally:
        torch.set_default_dtype(usual)
    StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def write_flux(folder: Path, kontext: bool = False) -> Path:
    """A FLUX, or a FLUX Kontext, which looks at a picture beside the prompt."""
    import torch
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "dog": 3, "red": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    make: Any = FluxKontextPipeline if kontext else FluxPipeline
    make(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=small_vae(
            latent_channels=FLUX_WIDTH // 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0,
            scaling_factor=1.0,
        ),
        text_encoder=CLIPTextModel(clip_text(FLUX_WIDTH)),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=5, d_model=FLUX_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2, is_encoder_decoder=False
            )
        ),
        tokenizer_2=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
        ),
        transformer=louder(
            FluxTransformer2DModel(
                patch_size=1,
                in_channels=FLUX_WIDTH,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=FLUX_WIDTH // 16,
                joint_attention_dim=FLUX_WIDTH,
                pooled_projection_dim=FLUX_WIDTH,
                guidance_embeds=True,
                axes_dims_rope=[4, 4, 8],
            )
        ),
    ).save_pretrained(folder)
    return folder


def write_qwen_image(folder: Path, edit: QwenEdit | None = None) -> Path:
    """A Qwen-Image, or one that was made to edit: its text encoder sees the picture, through Qwen2-VL's processor."""
    import torch
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    torch.manual_seed(0)
    channels = 4
    transformer = QwenImageTransformer2DModel(
        in_channels=4 * channels,
        out_channels=channels,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=louder(
            AutoencoderKLQwenImage(
                base_dim=4,
                z_dim=channels,
                dim_mult=[1, 1, 1, 1],
                num_res_blocks=0,
                latents_mean=[0.0] * channels,
                latents_std=[1.0] * channels,
            )
        ),
        text_encoder=qwen_reader(),
        tokenizer=qwen_tokenizer(),
        transformer=louder(transformer),
    ).save_pretrained(folder)
    if edit is not None:
        _made_to_edit(folder, edit)
    return folder


def _made_to_edit(folder: Path, name: QwenEdit) -> None:
    """The files that are otherwise with one that edits, as they lie on the hub.

    They are written by hand: the processor's classes want torchvision, which this environment need not have.
    """
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": name, "processor": ["transformers", "Qwen2VLProcessor"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    qwen_tokenizer().save_pretrained(folder / "processor")
    looks = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 56 * 56,
        "max_pixels": 28 * 28 * 16,
    }
    (folder / "processor" / "preprocessor_config.json").write_text(json.dumps(looks))


def write_adapter(folder: Path, painter: Path) -> Path:
    """A LoRA for the network of a painter that denoises, large enough to be seen."""
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(1)
    pipeline: Any = DiffusionPipeline.from_pretrained(painter)
    part = "transformer" if "transformer" in pipeline.components else "unet"
    network = pipeline.components[part]
    network.add_adapter(LoraConfig(r=2, lora_alpha=16, target_modules=["to_q", "to_v"], init_lora_weights=False))
    pipeline.save_lora_weights(folder, **{f"{part}_lora_layers": get_peft_model_state_dict(network)})
    return folder


def write_reference_adapter(folder: Path, painter: Path) -> Path:
    """An IP-Adapter for a Stable Diffusion, with its image encoder."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(2)
    unet: Any = UNet2DConditionModel.from_pretrained(painter, subfolder="unet")
    across = unet.config.cross_attention_dim
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=8,
            projection_dim=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    )
    encoder.save_pretrained(folder / "models" / "image_encoder")
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * across, 8),
        "image_proj.proj.bias": torch.zeros(4 * across),
        "image_proj.norm.weight": torch.ones(across),
        "image_proj.norm.bias": torch.zeros(across),
    }
    number = 1  # the original's numbering: every second attention looks at the text
    for name, layer in unet.named_modules():
        if name.endswith("attn2"):
            tensors |= {
                f"ip_adapter.{number}.{part}_ip.weight": torch.randn_like(getattr(layer, part).weight)
                for part in ("to_k", "to_v")
            }
            number += 2
    save_file(tensors, folder / "models" / "tiny.safetensors")
    return folder


def small_vae(**options: Any) -> Any:
    """One that makes eight pixels of a latent one, as Stable Diffusion's and FLUX's do."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **options,
    )


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's over single letters."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(letter + "</w>" for letter in LETTERS)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CLIP_READS)


def clip_text(width: int = 16) -> Any:
    """The configuration of a CLIP text encoder of one layer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=54,
        hidden_size=width,
        projection_dim=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CLIP_READS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def qwen_tokenizer() -> Any:
    """Qwen2's over single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    tokens = [*sorted(ByteLevel.alphabet()), *QWEN_TOKENS]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=QWEN_TOKENS[1:])


def qwen_reader() -> Any:
    """A Qwen2.5-VL of one layer each for words and pictures."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    number = dict(zip(QWEN_TOKENS, range(256, 256 + len(QWEN_TOKENS)), strict=True))
    small = {"hidden_size": 16, "intermediate_size": 16}
    text = small | {
        "vocab_size": 256 + len(QWEN_TOKENS),
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        "bos_token_id": None,
        "eos_token_id": number["<|endoftext|>"],
        "pad_token_id": number["<|endoftext|>"],
    }
    vision = small | {"depth": 1, "num_heads": 2, "out_hidden_size": 16, "fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=number["<|image_pad|>"],
            video_token_id=number["<|video_pad|>"],
            vision_start_token_id=number["<|vision_start|>"],
            vision_end_token_id=number["<|vision_end|>"],
        )
    )


def louder(network: Any) -> Any:
    """The network with larger weights, so that what it is told shows in what it paints."""
    import torch

    for weights in network.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    return network
