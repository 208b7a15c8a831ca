"""Tiny random voices, made on the spot in the layout that MMS's have."""

# pyright: reportArgumentType=false
import json
import math
from pathlib import Path

from .vision_weights import enliven

LETTERS = "_ abcdefghijklmnopqrstuvwxyz'-0123456789"


def write_voice(folder: Path, seed: int = 0, letters: str = LETTERS, frames: float = 3) -> Path:
    """A VITS that makes noise, about `frames` of 16 ms for a letter and as much for the blank before it."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    config = VitsConfig(
        vocab_size=len(letters),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=8,
        flow_size=8,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[16, 16],
        upsample_kernel_sizes=[32, 32],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        depth_separable_num_layers=1,
        duration_predictor_filter_channels=8,
        duration_predictor_num_flows=1,
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        noise_scale_duration=0.1,
    )
    network = enliven(lambda: VitsModel(config), seed)
    network.duration_predictor.flows[0].log_scale.data.zero_()
    network.duration_predictor.flows[0].translate.data.fill_(-math.log(frames - 0.5))  # it is rounded up
    network.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    VitsTokenizer(
        str(folder / "vocab.json"), pad_token="_", language="eng", phonemize=False, is_uroman=False
    ).save_pretrained(folder)
    return folder
