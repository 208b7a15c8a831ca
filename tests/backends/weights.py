"""Tiny random weights, made on the spot in the layouts that real ones have."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false
import itertools
import json
from pathlib import Path
from typing import Any

from .painters import clip_text, clip_tokenizer, small_vae

CHAT = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALLING = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name is defined %} {{ m.name }}{% endif %}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 4096


def byte_tokenizer(template: str) -> Any:
    """A token is a byte, but for those that begin and end a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=template,
    )


def llama(tokenizer: Any, **shape: int) -> Any:
    """A Llama of two layers with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    usual = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        head_dim=32,  # the least that every engine attends with
        num_hidden_layers=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **{**usual, **shape},
    )
    return LlamaForCausalLM(config)


def write_language_model(folder: Path, seed: int = 0) -> Path:
    """A Llama of two layers over single bytes: a token is a byte, so characters may take several.

    It hardly ever ends a reply of its own accord, so that long ones are long.
    """
    import torch

    tokenizer = byte_tokenizer(CHAT)
    torch.manual_seed(seed)
    model = llama(tokenizer)
    model.lm_head.weight.data[tokenizer.eos_token_id] = 0  # so never the likeliest
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_gguf(folder: Path, weights: Path) -> Path:
    """These weights of a Llama as the one GGUF of a folder."""
    import gguf
    import numpy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype="float32")
    tokenizer, config = AutoTokenizer.from_pretrained(weights), model.config
    folder.mkdir(exist_ok=True, parents=True)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    added = {token: token.special for token in tokenizer.added_tokens_decoder.values()}
    kinds = {
        str(token): gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
        for token, special in added.items()
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges(["\u0100 \u0100"])  # of two bytes to no token: a list must not be empty
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        values, heads = tensor.numpy(), config.num_attention_heads
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # pairs of a rotation lie side by side in GGUF
            heads = heads if "q_proj" in name else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        stem, _, ending = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{ending}", numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def write_calling_model(folder: Path, pieces: list[str], special: tuple[str, ...] = ()) -> Path:
    """A Llama whose every reply is these pieces, a token each, and then the end: each token leads to the next.

    Args:
        special: those of them that are special tokens, as the marks of a call often are.
    """
    import torch
    from tokenizers import AddedToken

    tokenizer = byte_tokenizer(CALLING)
    tokenizer.add_tokens([AddedToken(piece, special=piece in special, normalized=False) for piece in pieces])
    chain = [tokenizer("\n").input_ids[-1], *tokenizer.convert_tokens_to_ids(pieces), tokenizer.eos_token_id]
    model = llama(tokenizer, hidden_size=320)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):  # the layers add nothing
                weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), 320))
        model.lm_head.weight.zero_()
        for token, following in itertools.pairwise(chain):
            model.lm_head.weight[following, token] = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(folder: Path, weights: Path, rank: int = 4, seed: int = 0) -> Path:
    """A LoRA in PEFT's layout for these weights, with the weights it makes of them in `folder/merged`."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, generator = AutoModelForCausalLM.from_pretrained(weights), torch.Generator().manual_seed(seed)
    module: Any
    targets, tensors = ["q_proj", "v_proj", "o_proj", "down_proj"], {}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in targets:
            down = torch.randn(rank, module.in_features, generator=generator) * 0.3
            up = torch.randn(module.out_features, rank, generator=generator) * 0.3
            tensors[f"base_model.model.{name}.lora_A.weight"] = down
            tensors[f"base_model.model.{name}.lora_B.weight"] = up
            module.weight.data += 2 * up @ down
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": targets, "bias": "none"}
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    model.save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(weights).save_pretrained(folder / "merged")
    return folder


def write_painter(folder: Path) -> Path:
    """A Stable Diffusion of 64 x 64 pixels with a few thousand weights."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer = clip_tokenizer(folder)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    StableDiffusionPipeline(
        vae=small_vae(),
        text_encoder=CLIPTextModel(clip_text()),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


PROMPT = 4  # tokens before what a Whisper says: the start, the language, the task, without times


def write_whisper(
    folder: Path, width: int = 16, layers: int = 1, heads: int = 2, words: int = 0, says: int | None = None
) -> Path:
    """A Whisper with one layer each side that says noise, in CTranslate2's format by CTranslate2's own converter.

    Args:
        words: in its vocabulary besides letters; Whisper's own has some 50,000.
        says: tokens that it says to every stretch of sound; by default as many as it likes.
    """
    import torch
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    languages = ["<|en|>", "<|de|>"]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    special = ["<|startoftranscript|>", *languages, *(f"<|{name}|>" for name in tasks)]
    times = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # CTranslate2 tells a multilingual one by an empty token among its words.
    vocabulary = {
        token: number for number, token in enumerate([*letters, "", *(f"word{number}" for number in range(words))])
    }
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", additional_special_tokens=[*special, *times]
    )
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", *special)}
    end = number["<|endoftext|>"]
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            decoder_ffn_dim=4 * width,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=number["<|startoftranscript|>"],
            init_std=0.3,
        )
    )
    if says is not None:
        decoder = (
            model.model.decoder
        )  # its positions from there on look like the end of the text, and like nothing else
        with torch.no_grad():
            decoder.embed_positions.weight[PROMPT + says :] += 1000 * decoder.embed_tokens.weight[end]
    model.generation_config = GenerationConfig(
        suppress_tokens=[],
        begin_suppress_tokens=[],
        lang_to_id={token: number[token] for token in languages},
        alignment_heads=[[0, 0]],
    )
    source, made = folder / "transformers", folder / "ctranslate2"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    TransformersConverter(str(source), copy_files=["tokenizer.json"]).convert(str(made))
    return made
