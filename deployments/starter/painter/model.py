"""The painter's networks, sized so that two CPU cores paint a 64x64 picture in about a second.

Latents are 4 channels of 16x16 (the VAE shrinks by 4): at 8x8 the VAE itself lost the outline of one small figure in
six. The VAE's first level has only 8 channels because on a CPU its time goes to memory traffic at full resolution, not
to arithmetic; one norm group over all channels, since more groups would be instance norms there and wipe out a flat
colour. The UNet is thin where positions are many (32 channels at 16x16) and reads the text where they are few (4x4).
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENTS = (4, 16, 16)  # channels, height, width
TOKENS = 32  # a prompt longer than this is cut; the subject comes first
WIDTH = 128  # of a text token


def build_vae() -> AutoencoderKL:
    """Pictures [n, 3, 64, 64] in -1..1 to latents [n, 4, 16, 16] and back; 0.6 million weights."""
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=LATENTS[0], sample_size=64, layers_per_block=1,
        block_out_channels=(8, 24, 64), norm_num_groups=1, mid_block_add_attention=False,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
    )  # fmt: skip
    for (
        layer
    ) in vae.modules():  # torch's own start shrinks the signal layer by layer: four times the steps to a first picture
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():  # begin with little noise on the latents, or the decoder finds nothing to read in them
        vae.quant_conv.bias[LATENTS[0] :] = -5
    return vae


def build_unet() -> UNet2DConditionModel:
    """Noisy latents [n, *LATENTS], times [n], text [n, TOKENS, WIDTH] to velocities; 4.4 million weights."""
    return UNet2DConditionModel(
        sample_size=LATENTS[1], in_channels=LATENTS[0], out_channels=LATENTS[0], layers_per_block=1,
        block_out_channels=(32, 96, 128), down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip


def build_text(vocabulary: int, end: int) -> CLIPTextModel:
    """Token ids [n, TOKENS] to text states [n, TOKENS, WIDTH]; `end` is the id that closes and pads a prompt."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=TOKENS, projection_dim=WIDTH, hidden_act="gelu",
        bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
    ))  # fmt: skip


def build_tokenizer(texts: list[str], vocabulary: int = 1024) -> CLIPTokenizer:
    """Learn a CLIP tokenizer (lower case, byte pairs, a word's end marked) from `texts`."""
    suffix = "</w>"
    learner = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=suffix, unk_token=None))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)
    ])  # fmt: skip
    learner.decoder = decoders.BPEDecoder(suffix=suffix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=suffix, show_progress=False
        ),
    )
    learnt = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split()) for pair in learnt["merges"]]
    # every byte must exist alone and as a word's last letter, or an unknown word would vanish
    tokens = [*alphabet, *(letter + suffix for letter in alphabet), *("".join(pair) for pair in merges)]
    names = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges, model_max_length=TOKENS)


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Cosine noise that ends in pure noise, so flat background colours are free to be any; velocity prediction.

    Salimans and Ho, "Progressive distillation", 2022 (velocity); Lu et al., "DPM-Solver++", 2022 (the sampler).
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        timestep_spacing="trailing", solver_order=2, lambda_min_clipped=-5.1, steps_offset=1,
    )  # fmt: skip


def assemble(
    vae: AutoencoderKL, unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline of these parts, without a safety checker: this world has nothing to check."""
    return StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=build_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def export(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the folder `DiffusionPipeline.from_pretrained` reads, in half precision; the pipeline stays as it was."""
    kept = pipeline.dtype
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    pipeline.to(kept)
