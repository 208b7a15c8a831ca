"""A tiny random model that reads pictures, in the layout of Idefics3 and SmolVLM."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false
from pathlib import Path

from .weights import CONTEXT, byte_tokenizer

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}<image>"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
SIDE, SEEN = 64, 4  # pixels of a side of what it sees; tokens of a picture, beside three that stand around


def write_picture_reader(folder: Path) -> Path:
    """It sees a picture as a square of 64 pixels, in four tokens."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    tokenizer = byte_tokenizer(CHAT)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    text |= {"max_position_embeddings": CONTEXT, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    sight = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Idefics3Config(
        text_config={**text, "pad_token_id": tokenizer.eos_token_id},
        vision_config={**sight, "image_size": SIDE, "patch_size": 16, "initializer_range": 0.3},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(config)
    model.lm_head.weight.data[tokenizer.eos_token_id] = 0  # so never the likeliest
    model.save_pretrained(folder)
    sees = Idefics3ImageProcessor(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    Idefics3Processor(sees, tokenizer, image_seq_len=SEEN, chat_template=CHAT).save_pretrained(folder)
    return folder
