"""Families made of several: pictures beside words, or among them."""

from random import Random
from typing import Any

import torch
from torch import Generator, Tensor
from transformers import PreTrainedConfig

from tests.conformance.family import (
    EVERY_KIND,
    PICTURE,
    WIDTH,
    Family,
    Settings,
    Site,
    Sites,
    chain,
    composed,
    decoder,
    encoder,
    noise,
    of,
    one_site,
    sized,
    tokens,
    typed,
    without,
    words,
)
from tests.conformance.rows_decoders import GROUPED, IDS, PLAIN_ROPE, SLIDING, STACK, grouped, own, row, stack
from tests.conformance.rows_media import PATCHES, PIXELS, VIT, picture, vit

PLACE = {"image_token_index": PICTURE}
PLACE_ID = {"image_token_id": PICTURE}
TWINS = {"vision_config": vit(), "text_config": stack()}
QWEN_TEXT = {"num_attention_heads": 4, "hidden_size": 32, "head_dim": 8}
QWEN_ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
QWEN_VISION = {"depth": 2, "num_heads": 3, "patch_size": 4}
QWEN2_VISION = QWEN_VISION | {"embed_dim": 24, "hidden_size": 32, "mlp_ratio": 2}
QWEN25_VISION = QWEN_VISION | {"hidden_size": 24, "intermediate_size": 20, "out_hidden_size": 32}
WINDOWS = {"window_size": 8, "fullatt_block_indexes": [1]}
QWEN3_VISION = QWEN25_VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
MLLAMA_VISION = {
    **PIXELS,
    "hidden_size": 24,
    "attention_heads": 3,
    "num_hidden_layers": 1,
    "num_global_layers": 1,
    "intermediate_size": 20,
    "intermediate_layers_indices": [0],
    "vision_output_dim": 48,
    "max_num_tiles": 2,
    "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
}


def captioned(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return picture(config, generator, batch, length) | tokens(config, generator, batch, length)


def picture_in_words(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    inputs = captioned(config, generator, batch, length)
    places = torch.full((batch, PATCHES), PICTURE)
    return inputs | {"input_ids": torch.cat([places, inputs["input_ids"]], dim=1)}


def picture_in_prefix(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    """All of it a prefix, as a processor would say; unsaid, sdpa and eager disagree about what is masked."""
    inputs = picture_in_words(config, generator, batch, length)
    return inputs | {"token_type_ids": torch.zeros_like(inputs["input_ids"])}


def one_of_many_in_words(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    inputs = picture_in_words(config, generator, batch, length)
    return inputs | {"pixel_values": inputs["pixel_values"][:, None]}


def one_of_many_beside(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    inputs = captioned(config, generator, batch, length)
    seen = torch.ones(batch, length, 1, dtype=torch.long)
    return inputs | {"pixel_values": inputs["pixel_values"][:, None], "image_attention_mask": seen}


def tiles_beside(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    size = config.vision_config.image_size
    return tokens(config, generator, batch, length) | {
        "pixel_values": noise(generator, batch, 1, 2, 3, size, size),
        "aspect_ratio_ids": torch.full((batch, 1), 2),
        "aspect_ratio_mask": torch.ones(batch, 1, 2, dtype=torch.long),
        "cross_attention_mask": torch.ones(batch, length, 1, 2, dtype=torch.long),
    }


def patches_in_words(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    """Qwen's pictures come flat: 4 × 4 patches, of which 2 × 2 become one word."""
    vision = config.vision_config
    ids = torch.cat([torch.full((batch, 4), PICTURE), words(generator, batch, length)], dim=1)
    return {
        "input_ids": ids,
        "mm_token_type_ids": (ids == PICTURE).int(),
        "pixel_values": noise(generator, 16 * batch, 3 * vision.temporal_patch_size * vision.patch_size**2),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * batch),
    }


def both_halves(vision: Sites, text: Sites) -> Sites:
    return chain(of("vision_config", vision), of("text_config", text))


def pooled(config: PreTrainedConfig) -> list[Site]:
    """SigLIP ends with one more attention, torch's own, that gathers the picture into one vector."""
    return [*encoder(config), one_site(config, "pooling")]


def every_picture(config: PreTrainedConfig) -> list[Site]:
    """Qwen looks at one picture, or one window of 2 × 2 patches, at a time: that many calls in each layer."""
    dim = getattr(config, "embed_dim", config.hidden_size) // config.num_heads
    full = getattr(config, "fullatt_block_indexes", range(config.depth))
    calls = sum(2 if layer in full else 2 * 4 for layer in range(config.depth))
    return [Site("encoder", config.num_heads, config.num_heads, dim)] * calls


def local_and_global(config: PreTrainedConfig) -> list[Site]:
    return [one_site(config, "encoder")] * (config.num_hidden_layers + config.num_global_layers)


def self_and_cross(config: PreTrainedConfig) -> list[Site]:
    return [one_site(config, kind) for kind in ("decoder", "cross")] * config.num_hidden_layers


def cross_first(config: PreTrainedConfig) -> list[Site]:
    return [one_site(config, "cross"), *decoder(config)]


def cross_last(config: PreTrainedConfig) -> list[Site]:
    return [*decoder(config)[1:], one_site(config, "cross")]


def caption(name: str, settings: Settings, sites: Sites, head: str = "image-text-to-text", **more: Any) -> Family:
    return row(name, settings, sites, head=head, **{"inputs": captioned, **more})


def qwen(vision: dict[str, Any]) -> Settings:
    text = sized(without(GROUPED, *IDS) | QWEN_TEXT, num_key_value_heads=2, rope_parameters=QWEN_ROPE)
    return composed(vision_config=vision, text_config=text, **PLACE_ID)


def siglip(random: Random) -> dict[str, Any]:
    """Both halves must end equally wide."""
    vision = vit()(random)
    return {"vision_config": vision, "text_config": stack(projection_size=vision["hidden_size"])(random)}


def paligemma(random: Random) -> dict[str, Any]:
    """The projection must come out as wide as the words are."""
    parts = composed(vision_config=vit(vision_use_head=False), text_config=typed("gemma", own()), **PLACE)(random)
    return parts | {"projection_dim": parts["text_config"]["hidden_size"]}


def git(random: Random) -> dict[str, Any]:
    return stack()(random) | {"vision_config": vit()(random)}


def idefics(random: Random) -> dict[str, Any]:
    vision = sized(without(VIT, "hidden_size"), embed_dim=WIDTH)
    return stack(cross_layer_interval=2)(random) | {"vision_config": vision(random)}


LLAVA_PARTS = {"vision_config": typed("clip_vision_model", vit()), "text_config": typed("llama", own())}
LLAVA = composed(**LLAVA_PARTS, vision_feature_layer=-1, **PLACE)
GEMMA3 = composed(vision_config=vit(vision_use_head=False), text_config=own(**SLIDING), mm_tokens_per_image=PATCHES, **PLACE)
SMOLVLM = composed(vision_config=vit(), text_config=typed("llama", own()), scale_factor=1, **PLACE_ID)
MLLAMA = composed(vision_config=MLLAMA_VISION, text_config=grouped(cross_attention_layers=[1], rope_parameters=PLAIN_ROPE), **PLACE)
FLAVA = composed(
    image_config=vit(),
    text_config=sized(without(STACK, "bos_token_id", "eos_token_id")),
    multimodal_config=sized(without(VIT, *PIXELS)),
)

TOGETHER = [
    caption("clip", composed(**TWINS), both_halves(encoder, encoder), head="base"),
    caption("chinese_clip", composed(**TWINS), both_halves(encoder, encoder), head="base"),
    caption("altclip", composed(**TWINS), both_halves(encoder, encoder), head="base"),
    caption("siglip", siglip, both_halves(pooled, encoder), head="base", legacy=("pooling",)),
    caption("llava", LLAVA, both_halves(encoder, decoder), inputs=picture_in_words),
    caption("paligemma", paligemma, both_halves(encoder, decoder), inputs=picture_in_prefix),
    caption("gemma3", GEMMA3, both_halves(encoder, decoder), inputs=picture_in_words),
    caption("smolvlm", SMOLVLM, both_halves(encoder, decoder), inputs=one_of_many_in_words),
    caption("qwen2_vl", qwen(QWEN2_VISION), both_halves(every_picture, decoder), inputs=patches_in_words),
    caption("qwen2_5_vl", qwen(QWEN25_VISION | WINDOWS), both_halves(every_picture, decoder), inputs=patches_in_words),
    caption("qwen3_vl", qwen(QWEN3_VISION), both_halves(every_picture, decoder), inputs=patches_in_words),
    caption("idefics", idefics, chain(of("vision_config", encoder), cross_first), inputs=one_of_many_beside),
    caption("mllama", MLLAMA, both_halves(local_and_global, cross_last), inputs=tiles_beside),
    caption("git", git, chain(of("vision_config", encoder), decoder), legacy=("decoder",), fixed=True),
    caption("blip", composed(**TWINS), both_halves(encoder, self_and_cross), legacy=EVERY_KIND),
    caption(
        "flava",
        FLAVA,
        chain(of("image_config", encoder), of("text_config", encoder), of("multimodal_config", encoder)),
        head="base",
        legacy=EVERY_KIND,
    ),
]
