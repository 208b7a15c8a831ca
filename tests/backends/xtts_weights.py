"""Tiny random XTTS weights, made on the spot in the layout that the backend reads."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
import json
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "de")
SPEAKERS = ("Ana Florence", "Viktor")
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß0123456789.,;:!?'-"
RATE = 12_000  # Hz: half of the real ones', for HiFi-GAN's size is fixed
WIDTH = 16  # of the network between text and sound


def write_xtts(folder: Path, tokens: int = 46, seed: int = 0) -> Path:
    """An XTTS that makes noise of `tokens` x 46 ms for each passage, whatever is in it: it never thinks it is done."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = make(folder, tokens)
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    speakers = {
        f"{name}.{part}": torch.randn(shape)
        for name in SPEAKERS
        for part, shape in (("gpt_cond_latent", (1, 32, WIDTH)), ("speaker_embedding", (1, 512, 1)))
    }
    save_file(speakers, folder / "speakers.safetensors", {"format": "pt"})
    return folder


def make(folder: Path, tokens: int) -> Any:
    """The network, with `config.json` and `vocab.json` written to `folder`."""
    import torch
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    write_vocabulary(folder)
    config: Any = XttsConfig()
    config.languages = list(LANGUAGES)
    config.model_args.update(
        {
            "gpt_layers": 1,
            "gpt_n_model_channels": WIDTH,
            "gpt_n_heads": 2,
            "gpt_max_audio_tokens": tokens + 3,
            "gpt_num_audio_tokens": 34,
            "gpt_start_audio_token": 32,
            "gpt_stop_audio_token": 33,
            "gpt_use_perceiver_resampler": True,
            "decoder_input_dim": WIDTH,
            "output_sample_rate": RATE,
        }
    )
    config.audio.output_sample_rate = RATE
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    network: Any = Xtts(config)
    network.tokenizer = VoiceBpeTokenizer(folder / "vocab.json")
    network.init_models()
    network.gpt.mel_head.bias.data[33] = -1e4  # the token that ends a passage
    for name, parameter in network.hifigan_decoder.waveform_decoder.named_parameters():
        if "ups" not in name and "resblocks" not in name and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.6 * parameter[0].numel() ** -0.5)
    return network


def write_vocabulary(folder: Path) -> None:
    """A token a letter, and those that XTTS's own has for languages and ends."""
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{tag}]" for tag in LANGUAGES), "[START]"]
    vocabulary = {token: number for number, token in enumerate([*special, *LETTERS])}
    added = [
        {"id": number, "content": token, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, token in enumerate(special)
    ]
    told = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": False, "vocab": vocabulary, "merges": []},
    }
    (folder / "vocab.json").write_text(json.dumps(told))
