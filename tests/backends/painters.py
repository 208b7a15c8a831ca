"""Tiny random painters of the families people use, and what is laid over them, in the layouts that real ones have."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false
import json
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"


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
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(folder)
    return folder


def write_flux(folder: Path, kontext: bool = False) -> Path:
    """A FLUX, or a FLUX Kontext, which looks at a picture beside the prompt."""
    import torch
    from diffusers import (
        AutoencoderKL,
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
        vae=AutoencoderKL(
            block_out_channels=(4,),
            norm_num_groups=1,
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            latent_channels=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0,
            scaling_factor=1.0,
        ),
        text_encoder=CLIPTextModel(clip_text()),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=5, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, is_encoder_decoder=False)
        ),
        tokenizer_2=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
        ),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=[4, 4, 8],
        ),
    ).save_pretrained(folder)
    return folder


def write_adapter(folder: Path, painter: Path) -> Path:
    """A LoRA for a Stable Diffusion, large enough to be seen."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(1)
    unet: Any = UNet2DConditionModel.from_pretrained(painter, subfolder="unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=16, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
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


def small_vae() -> Any:
    """One that makes eight pixels of a latent one, as Stable Diffusion's does."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's over single letters."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(letter + "</w>" for letter in LETTERS)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def clip_text() -> Any:
    """The configuration of a CLIP text encoder of one layer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=54,
        hidden_size=16,
        projection_dim=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
