"""Families that look, listen or measure, and those that do not attend at all."""

from typing import Any

import torch
from torch import Generator, Tensor
from transformers import PreTrainedConfig

from tests.conformance.family import (
    EVERY_KIND,
    HEADS,
    INNER,
    VOCAB,
    WIDTH,
    Family,
    Settings,
    Site,
    Sites,
    encoder,
    noise,
    nothing,
    sized,
    without,
)
from tests.conformance.rows_decoders import GPT, STACK, row
from tests.conformance.rows_encoders import bart, other_heads

PIXELS = {"image_size": 12, "patch_size": 4}
PATCHES = 9
LAYERS = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS}
VIT = LAYERS | PIXELS | {"intermediate_size": INNER}


def vit(**more: Any) -> Settings:
    return sized(VIT, **more)


def picture(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    parts = [getattr(config, name, None) for name in ("vision_config", "image_config")]
    size = next((part for part in parts if part), config).image_size
    height, width = (size, size) if isinstance(size, int) else size
    return {"pixel_values": noise(generator, batch, 3, height, width)}


def any_picture(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"pixel_values": noise(generator, batch, 3, 16, 16)}


def picture_to_hide(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    """The noise decides which patches are hidden; without it they would be drawn anew in each pass."""
    return picture(config, generator, batch, length) | {"noise": torch.rand(batch, PATCHES, generator=generator)}


def film(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"pixel_values": noise(generator, batch, config.num_frames, 3, config.image_size, config.image_size)}


def look(name: str, settings: Settings, sites: Sites = encoder, head: str = "image-classification", **more: Any) -> Family:
    return row(name, settings, sites, head=head, **{"inputs": picture, **more})


def watch(name: str, settings: Settings, **more: Any) -> Family:
    return row(name, settings, encoder, head="video-classification", inputs=film, **more)


SWIN = {
    "image_size": 16,
    "patch_size": 2,
    "embed_dim": WIDTH,
    "depths": [2, 1],
    "num_heads": lambda sizes: [sizes.heads, other_heads(sizes)],
    "window_size": 4,
    "mlp_ratio": 2.0,
}
PYRAMID = {
    "num_encoder_blocks": 2,
    "depths": [2, 1],
    "hidden_sizes": lambda sizes: [sizes.width, 2 * sizes.width],
    "num_attention_heads": lambda sizes: [sizes.heads, other_heads(sizes)],
    "patch_sizes": [4, 2],
    "strides": [4, 2],
    "mlp_ratios": [2, 2],
}
HIERA = {
    "embed_dim": WIDTH,
    "depths": [1, 1],
    "num_heads": lambda sizes: [sizes.heads, other_heads(sizes)],
    "image_size": [16, 16],
    "patch_size": [3, 3],
    "patch_stride": [2, 2],
    "patch_padding": [1, 1],
    "query_stride": [2, 2],
    "num_query_pool": 1,
    "masked_unit_size": [4, 4],
    "masked_unit_attention": [True, False],
}
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
DETR = {
    "backbone_config": RESNET | {"out_features": ["stage2"]},
    "num_queries": 5,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": INNER,
    "decoder_layers": 2,
    "decoder_attention_heads": other_heads,
    "decoder_ffn_dim": INNER,
}
MAE_DECODER = {
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_hidden_size": 24,
    "decoder_intermediate_size": 20,
}


def growing(config: PreTrainedConfig) -> list[Site]:
    """Stages, each twice as wide as the one before (Swin, Hiera)."""
    stages = zip(config.depths, config.num_heads, strict=True)
    shapes = [(depth, heads, config.embed_dim * 2**stage // heads) for stage, (depth, heads) in enumerate(stages)]
    return [Site("encoder", heads, heads, dim) for depth, heads, dim in shapes for _ in range(depth)]


def pyramid(config: PreTrainedConfig) -> list[Site]:
    stages = zip(config.depths, config.num_attention_heads, config.hidden_sizes, strict=True)
    return [Site("encoder", heads, heads, width // heads) for depth, heads, width in stages for _ in range(depth)]


def mae(config: PreTrainedConfig) -> list[Site]:
    heads = config.decoder_num_attention_heads
    second = Site("encoder", heads, heads, config.decoder_hidden_size // heads)
    return encoder(config) + [second] * config.decoder_num_hidden_layers


SIGHT = [
    look("vit", vit()),
    look("deit", vit(), head="base"),
    look("dinov2", sized(LAYERS | PIXELS, mlp_ratio=2)),
    look("dinov2_with_registers", sized(LAYERS | PIXELS, mlp_ratio=2, num_register_tokens=2)),
    look("dinov3_vit", vit(num_register_tokens=2), head="base"),
    look("beit", vit(use_relative_position_bias=True, use_absolute_position_embeddings=True)),
    look("beit-shared-bias", vit(use_shared_relative_position_bias=True), of="beit"),
    look("data2vec-vision", vit(use_relative_position_bias=True), legacy=EVERY_KIND, fixed=True),
    look("ijepa", vit()),
    look("vit_msn", vit()),
    look("vit_mae", vit(**MAE_DECODER), mae, head="pretraining", inputs=picture_to_hide),
    look("yolos", vit(image_size=[12, 16], num_detection_tokens=3), head="object-detection"),
    watch("vivit", sized(without(VIT, "patch_size"), num_frames=4, tubelet_size=[2, 4, 4])),
    watch("videomae", vit(num_frames=4, tubelet_size=2)),
    watch("timesformer", vit(num_frames=2, attention_type="joint_space_time"), legacy=EVERY_KIND),
    look("swin", sized(SWIN), growing, inputs=any_picture),
    look("swinv2", sized(SWIN), growing, inputs=any_picture, legacy=EVERY_KIND),
    look("hiera", sized(HIERA), growing, inputs=any_picture, legacy=EVERY_KIND),
    look("segformer", sized(PYRAMID, sr_ratios=[2, 1], decoder_hidden_size=16), pyramid, inputs=any_picture),
    look("pvt", sized(PYRAMID, sequence_reduction_ratios=[2, 1], image_size=16), pyramid, inputs=any_picture, legacy=EVERY_KIND),
    look("detr", sized(DETR), bart, head="object-detection", inputs=any_picture),
    row("imagegpt", sized(GPT), head="base", legacy=EVERY_KIND),
]

# --- sound and numbers ---------------------------------------------------------------------------------------------

WAV = LAYERS | {
    "vocab_size": VOCAB,
    "intermediate_size": INNER,
    "conv_dim": [12, 12],
    "conv_kernel": [8, 4],
    "conv_stride": [8, 4],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2,
}
BERT_OF_WAVES = without(WAV, *[name for name in WAV if "conv" in name]) | {
    "feature_projection_input_dim": 10,
    "conv_depthwise_kernel_size": 3,
    "left_max_position_embeddings": 4,
    "right_max_position_embeddings": 2,
}
STRIDES = {"patch_size": 4, "frequency_stride": 4, "time_stride": 4}
SPECTRUM = LAYERS | STRIDES | {"intermediate_size": INNER, "max_length": 16, "num_mel_bins": 8}
SERIES = {"d_model": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "ffn_dim": INNER}
NO_WORDS = {"bos_token_id": None, "eos_token_id": None}
ACTIONS = {"hidden_size": WIDTH, "n_layer": 2, "n_head": HEADS, "state_dim": 3, "act_dim": 2, "max_ep_len": 16, **NO_WORDS}


def sound(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"input_values": noise(generator, batch, 32 * (length + 1))}


def spectrum(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"input_values": noise(generator, batch, config.max_length, config.num_mel_bins)}


def frames(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"input_features": noise(generator, batch, length, config.feature_projection_input_dim)}


def series(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"past_values": noise(generator, batch, config.context_length, config.num_input_channels)}


def episode(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {
        "states": noise(generator, batch, length, config.state_dim),
        "actions": noise(generator, batch, length, config.act_dim),
        "rewards": noise(generator, batch, length, 1),
        "returns_to_go": noise(generator, batch, length, 1),
        "timesteps": torch.arange(length).repeat(batch, 1),
        "attention_mask": torch.ones(batch, length),
    }


def hear(name: str, settings: Settings, head: str = "ctc", **more: Any) -> Family:
    return row(name, settings, encoder, head=head, **{"inputs": sound, **more})


SOUND = [
    hear("wav2vec2", sized(WAV)),
    hear("wav2vec2-stable", sized(WAV, do_stable_layer_norm=True, feat_extract_norm="layer"), of="wav2vec2"),
    hear("hubert", sized(WAV)),
    hear("wavlm", sized(WAV, num_buckets=8, max_bucket_distance=16), legacy=EVERY_KIND),
    hear("unispeech", sized(WAV)),
    hear("unispeech-sat", sized(WAV)),
    hear("data2vec-audio", sized(WAV, num_conv_pos_embeddings=2, conv_pos_kernel_size=3)),
    hear("sew", sized(WAV, squeeze_factor=2)),
    hear("wav2vec2-conformer", sized(WAV, conv_depthwise_kernel_size=3)),
    hear("wav2vec2-conformer-rotary", sized(WAV, position_embeddings_type="rotary"), of="wav2vec2-conformer"),
    hear("wav2vec2-bert", sized(BERT_OF_WAVES), inputs=frames),
    hear("audio-spectrogram-transformer", sized(SPECTRUM), head="audio-classification", inputs=spectrum),
    row("patchtst", sized(SERIES, context_length=16, patch_length=4, patch_stride=4), encoder, head="base", inputs=series),
    row("decision_transformer", sized(ACTIONS), head="base", inputs=episode),
]

# --- without attention ---------------------------------------------------------------------------------------------

STATES = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4, "conv_kernel": 2}
MAMBA2 = STATES | {"hidden_size": 24, "num_heads": 4, "head_dim": 12, "n_groups": 2, "chunk_size": 4}
STAGES = {"depths": [1, 1], "hidden_sizes": [8, 12]}
POOLING = {"num_encoder_blocks": 2, "patch_sizes": [3, 3], "strides": [2, 2], "padding": [1, 1]}

WITHOUT_ATTENTION = [
    row("mamba", sized(STATES), nothing),
    row("mamba2", sized(MAMBA2), nothing),
    row("falcon_mamba", sized(STATES), nothing),
    row("rwkv", sized({"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 2, "context_length": 64}), nothing),
    row("fnet", sized(without(STACK, "num_attention_heads")), nothing, head="masked-lm"),
    look("convnext", sized(STAGES, num_stages=2, patch_size=2), nothing, inputs=any_picture),
    look("poolformer", sized(STAGES | POOLING), nothing, inputs=any_picture),
]
