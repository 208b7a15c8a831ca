"""Tiny random encoders, as sentence-transformers and rerankers have them."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false
import json
from pathlib import Path
from typing import Any

LONGEST = 64  # tokens
SIZE = 32  # of a vector


def _tokenizer() -> Any:
    """A token is a byte; texts begin and end with special ones, and pairs have one between them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=LONGEST
    )


def _config(tokenizer: Any, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=SIZE,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LONGEST,
        initializer_range=0.3,
        pad_token_id=0,
        **more,
    )


def write_encoder(folder: Path, seed: int = 0) -> Path:
    """An encoder in sentence-transformers' layout, with prompts for queries and documents."""
    import torch
    from transformers import BertModel

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    BertModel(_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": LONGEST, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "ask: ", "document": "say: "}, "similarity_fn_name": "cosine"})
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": SIZE, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir(exist_ok=True)
    return folder


def write_ranker(folder: Path, seed: int = 0, outputs: int = 1) -> Path:
    """A classifier of pairs."""
    import torch
    from transformers import BertForSequenceClassification

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    BertForSequenceClassification(_config(tokenizer, num_labels=outputs)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_judge(folder: Path, seed: int = 0, kind: str = "multi_label_classification") -> Path:
    """A classifier of texts with three labels."""
    import torch
    from transformers import BertForSequenceClassification

    tokenizer, labels = _tokenizer(), ("harmless", "threat", "insult")
    torch.manual_seed(seed)
    config = _config(tokenizer, id2label=dict(enumerate(labels)), problem_type=kind)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
