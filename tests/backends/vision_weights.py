"""Tiny random weights of networks that look at pictures, made on the spot in the layouts that real ones have."""

# pyright: reportArgumentType=false, reportMissingImports=false
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def enliven(make: Callable[[], Any], seed: int) -> Any:
    """A network with random weights, large enough that what comes out depends on what goes in."""
    import torch

    torch.manual_seed(seed)  # some draw a part that is no parameter when they are made
    network = make()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    return network


def stages(field: str, values: list[Any]) -> dict[str, Any]:
    """Which stages of a backbone are used: a field that its configuration takes and does not declare."""
    return {field: values}


def write_preprocessor(folder: Path, **more: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD, **more}))


def sam2_parts(side: int = 64) -> dict[str, Any]:
    """Configurations of the vision encoder, prompt encoder and mask decoder, for pictures of `side` pixels."""
    backbone = {
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [side, side],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        "fpn_hidden_size": 16,
    }
    prompts = {"hidden_size": 16, "image_size": side, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    return {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}


def write_sam2(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 for pictures of 64 x 64 pixels, with 45 thousand weights."""
    from transformers import Sam2Config, Sam2Model

    enliven(lambda: Sam2Model(Sam2Config(**sam2_parts())), seed).save_pretrained(folder)
    write_preprocessor(folder, resample=2)
    return folder


def write_sam2_video(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 for videos, as `facebook/sam2.1-hiera-...` are: the same with a memory."""
    from transformers import Sam2VideoConfig, Sam2VideoMaskDecoderConfig, Sam2VideoModel

    parts = sam2_parts()
    config = Sam2VideoConfig(
        **parts | {"mask_decoder_config": Sam2VideoMaskDecoderConfig(**parts["mask_decoder_config"])},
        image_size=64,
        memory_attention_hidden_size=16,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=16,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=16,
        memory_fuser_embed_dim=16,
        memory_fuser_intermediate_dim=16,
    )
    enliven(lambda: Sam2VideoModel(config), seed).save_pretrained(folder)
    write_preprocessor(folder, resample=2)
    return folder


def write_depth(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A Depth Anything that sees 56 pixels of the shorter side, with 20 thousand weights."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=56,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        **stages("out_indices", [1, 2, 3, 4]),
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        **changes,
    )
    network = enliven(lambda: DepthAnythingForDepthEstimation(config), seed)
    network.head.conv3.weight.data.abs_().mul_(0.02)  # so that little is cut off at zero, or by a sigmoid at one
    network.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    write_preprocessor(folder, size=size, resample=3, ensure_multiple_of=14, keep_aspect_ratio=True)
    return folder


def write_matter(folder: Path, seed: int = 0) -> Path:
    """A ViTMatte with 9 thousand weights."""
    from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

    backbone = VitDetConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=64,
        pretrain_image_size=64,
        patch_size=16,
        num_channels=4,
        use_relative_position_embeddings=True,
        window_size=2,
        **stages("out_features", ["stage1"]),
    )
    config = VitMatteConfig(
        backbone_config=backbone,
        hidden_size=16,
        convstream_hidden_sizes=[4, 8, 8],
        fusion_hidden_sizes=[8, 8, 8, 4],
    )
    network = enliven(lambda: VitMatteForImageMatting(config), seed)
    network.decoder.matting_head.matting_convs[1].weight.data.fill_(1)  # of a norm, which transformers begins near zero
    network.decoder.matting_head.matting_convs[3].weight.data.mul_(300)
    network.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": half, "image_std": half}))
    return folder


def write_knower(folder: Path, labels: tuple[str, ...] = ("cat", "sky-other-merged", "dog"), seed: int = 0) -> Path:
    """A Mask2Former of three kinds of things, that sees 64 x 64 pixels, with 80 thousand weights."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        **stages("out_features", ["stage1", "stage2", "stage3", "stage4"]),
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,  # in groups of 32 channels
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=16,
        num_attention_heads=2,
        num_queries=5,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    enliven(lambda: Mask2FormerForUniversalSegmentation(config), seed).save_pretrained(folder)
    write_preprocessor(folder, size={"height": 64, "width": 64}, resample=2)
    return folder


def write_fastsam(folder: Path, seed: int = 0) -> Path:
    """The smallest FastSAM, in which masks depend on the place and half of the boxes are surer than a half."""
    import torch
    from safetensors.torch import save_file
    from ultralytics.nn.tasks import SegmentationModel, yaml_model_load

    folder.mkdir(parents=True, exist_ok=True)
    network = enliven(lambda: SegmentationModel(yaml_model_load("yolov8n-seg.yaml"), nc=1, verbose=False), seed)
    head = network.model[-1]
    head.dfl.conv.weight.data = torch.arange(16.0).view(1, 16, 1, 1)  # a constant: distances
    for layer in head.cv3:  # what says how sure it is of a thing
        torch.nn.init.zeros_(layer[-1].bias)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 128, 128))  # so that no layer's signal fades
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
