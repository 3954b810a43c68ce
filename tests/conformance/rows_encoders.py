"""Encoders, and encoders with a decoder behind them."""

from functools import partial
from typing import Any

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
    Sizes,
    composed,
    encoder,
    noise,
    of,
    one_site,
    sized,
    tokens_twice,
    typed,
    without,
    words,
)
from tests.conformance.rows_decoders import HALF_ROPE, IDS, SLIDING, STACK, own, row, stack, twice_the_heads

PAD = {"pad_token_id": 0}
END = PAD | {"eos_token_id": 2}
DISTIL = {"vocab_size": VOCAB, "dim": WIDTH, "n_layers": 2, "n_heads": HEADS, "hidden_dim": INNER, **PAD}
XLNET = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layer": 2, "n_head": HEADS, "d_inner": INNER, **IDS}
FUNNEL = {"vocab_size": VOCAB, "d_model": WIDTH, "n_head": HEADS, "d_head": 6, "d_inner": INNER, **PAD}
XLM = {"vocab_size": VOCAB, "emb_dim": WIDTH, "n_layers": 2, "n_heads": HEADS, "max_position_embeddings": 64, **PAD}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
BUCKETS = RELATIVE | {"position_buckets": 4, "norm_rel_ebd": "layer_norm"}
DOUBLED = {"num_attention_heads": twice_the_heads, "hidden_size": lambda sizes: 2 * sizes.width}
MARKED = {"cls_token_id": 1, "sep_token_id": 2}


def masked(name: str, settings: Settings, sites: Sites = encoder, **more: Any) -> Family:
    return row(name, settings, sites, head="masked-lm", **more)


def behind_bottleneck(config: PreTrainedConfig) -> list[Site]:
    """MobileBERT attends in a narrower space than its layers pass on."""
    heads = config.num_attention_heads
    return [Site("encoder", heads, heads, config.true_hidden_size // heads)] * config.num_hidden_layers


def half_of_the_heads(config: PreTrainedConfig) -> list[Site]:
    """ConvBERT makes convolutions of the other half."""
    heads = config.num_attention_heads // config.head_ratio
    return [Site("encoder", heads, heads, config.hidden_size // config.num_attention_heads)] * config.num_hidden_layers


def funnel_blocks(config: PreTrainedConfig) -> list[Site]:
    blocks = sum(config.block_sizes) + config.num_decoder_layers
    return [Site("encoder", config.n_head, config.n_head, config.d_head)] * blocks


def inner_groups(config: PreTrainedConfig) -> list[Site]:
    return encoder(config) * config.inner_group_num


ENCODERS = [
    masked("bert", stack()),
    masked("roberta", stack()),
    masked("distilbert", sized(DISTIL)),
    masked("electra", stack(embedding_size=20)),
    masked("albert", stack(embedding_size=20)),  # one layer, called twice
    masked("albert-groups", stack(embedding_size=20, num_hidden_groups=2, inner_group_num=2), inner_groups, of="albert"),
    masked("mpnet", stack(), legacy=EVERY_KIND),
    masked("deberta", stack(**RELATIVE), legacy=EVERY_KIND),
    masked("deberta-v2", stack(**BUCKETS), legacy=EVERY_KIND),
    masked("deberta-v2-shared", stack(**BUCKETS, share_att_key=True, conv_kernel_size=3), of="deberta-v2", legacy=EVERY_KIND),
    masked("camembert", stack()),
    masked("xlm-roberta", stack()),
    masked("xlm-roberta-xl", stack()),
    masked("xmod", stack(default_language="en_XX")),
    masked("roberta-prelayernorm", stack()),
    masked("data2vec-text", stack()),
    masked("modernbert", stack(**MARKED, local_attention=8, layer_types=SLIDING["layer_types"])),
    masked("esm", stack(position_embedding_type="rotary", mask_token_id=PAD["pad_token_id"], emb_layer_norm_before=True)),
    masked("roformer", stack(embedding_size=20), legacy=EVERY_KIND),
    masked("ernie", stack(use_task_id=True)),
    masked("nystromformer", stack(), legacy=EVERY_KIND),  # as many landmarks as words: plain softmax
    masked("mobilebert", sized(without(STACK, *IDS), embedding_size=20, intra_bottleneck_size=WIDTH), behind_bottleneck),
    masked("convbert", stack(embedding_size=20, **DOUBLED), half_of_the_heads, legacy=EVERY_KIND),
    masked("megatron-bert", stack(), legacy=EVERY_KIND),
    row("xlnet", sized(XLNET), encoder, legacy=EVERY_KIND),
    masked("funnel", sized(FUNNEL, block_sizes=[1, 1], num_decoder_layers=1), funnel_blocks, legacy=EVERY_KIND),
    masked("rembert", stack(input_embedding_size=20, output_embedding_size=24), legacy=EVERY_KIND),
    masked("nomic_bert", stack()),
    masked("eurobert", own(mask_token_id=2)),
    masked("gte", stack()),
    masked("squeezebert", stack(embedding_size=WIDTH), legacy=EVERY_KIND),
    masked("ibert", stack(), legacy=EVERY_KIND),
    masked("layoutlm", stack()),
    masked("longformer", stack(attention_window=4), legacy=EVERY_KIND),
    masked("xlm", sized(XLM), legacy=EVERY_KIND),
    masked("big_bird", stack(attention_type="original_full"), legacy=EVERY_KIND),
    masked("tapas", stack(), legacy=EVERY_KIND),
]

# --- encoder and decoder -------------------------------------------------------------------------------------------


def other_heads(sizes: Sizes) -> int:
    """A number that also divides the width, so that encoder and decoder differ."""
    return sizes.head_dim // 2


T5_LAYERS = {"num_layers": 2, "num_decoder_layers": 2, "num_heads": HEADS, "d_kv": 6}
T5 = T5_LAYERS | {"vocab_size": VOCAB, "d_model": WIDTH, "d_ff": INNER, **END}
GLOBAL = {"encoder_attention_type": "transient-global", "global_block_size": 2}
TWO_STACKS = {
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": INNER,
    "decoder_layers": 2,
    "decoder_attention_heads": other_heads,
    "decoder_ffn_dim": INNER,
    "decoder_start_token_id": 1,
    **END,
}
BART = TWO_STACKS | {"max_position_embeddings": 64}
LED = TWO_STACKS | {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64}
FSMT = without(BART, "vocab_size") | {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB}
PROPHETNET = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_encoder_layers": 2,
    "num_encoder_attention_heads": HEADS,
    "encoder_ffn_dim": INNER,
    "num_decoder_layers": 2,
    "num_decoder_attention_heads": other_heads,
    "decoder_ffn_dim": INNER,
    "decoder_start_token_id": 1,
    **IDS,
}
MOONSHINE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "encoder_num_hidden_layers": 2,
    "encoder_num_attention_heads": HEADS,
    "encoder_num_key_value_heads": HEADS,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": HEADS,
    "decoder_num_key_value_heads": HEADS,  # q is viewed with the heads of k: no groups possible
    "decoder_start_token_id": 1,
    "rope_parameters": HALF_ROPE,
    **IDS,
}
SPARSE = {"num_experts": 4, "expert_capacity": 8}
WHISPER = TWO_STACKS | {"max_target_positions": 20, "bos_token_id": 1}


def two_stacks(encoders: int, encoder_site: Site, decoders: int, decoder_heads: int, decoder_dim: int) -> list[Site]:
    layer = [Site(kind, decoder_heads, decoder_heads, decoder_dim) for kind in ("decoder", "cross")]
    return [encoder_site] * encoders + layer * decoders


def t5(config: PreTrainedConfig) -> list[Site]:
    heads, dim = config.num_heads, config.d_kv
    return two_stacks(config.num_layers, Site("encoder", heads, heads, dim), config.num_decoder_layers, heads, dim)


def bart(config: PreTrainedConfig) -> list[Site]:
    width, heads, others = config.d_model, config.encoder_attention_heads, config.decoder_attention_heads
    first = Site("encoder", heads, heads, width // heads)
    return two_stacks(config.encoder_layers, first, config.decoder_layers, others, width // others)


def prophetnet(config: PreTrainedConfig) -> list[Site]:
    """The decoder attends for the next word and for the ones after it, with the same weights."""
    width, heads, others = config.hidden_size, config.num_encoder_attention_heads, config.num_decoder_attention_heads
    first = Site("encoder", heads, heads, width // heads)
    words_and_grams = [Site(kind, others, others, width // others) for kind in ("decoder", "decoder", "cross")]
    return [first] * config.num_encoder_layers + words_and_grams * config.num_decoder_layers


def pegasus_x(config: PreTrainedConfig) -> list[Site]:
    """Each encoder layer attends twice with the same weights: global words to all, then local blocks."""
    sites = bart(config)
    return sites[: config.encoder_layers] + sites


def moonshine(config: PreTrainedConfig) -> list[Site]:
    heads = config.encoder_num_attention_heads
    dim = config.hidden_size // heads
    padding = -dim % (config.pad_head_dim_to_multiple_of or 1)
    kinds = ["encoder"] * config.encoder_num_hidden_layers + ["decoder", "cross"] * config.decoder_num_hidden_layers
    return [Site(kind, heads, heads, dim, padding=padding) for kind in kinds]


def two_models(config: PreTrainedConfig) -> list[Site]:
    layer = [one_site(config.decoder, kind) for kind in ("decoder", "cross")]
    return of("encoder", encoder)(config) + layer * config.decoder.num_hidden_layers


def mel(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    sound = noise(generator, batch, config.num_mel_bins, 2 * config.max_source_positions)
    return {"input_features": sound, "decoder_input_ids": words(generator, batch, length)}


def features(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    sound = noise(generator, batch, 4 * length, config.input_feat_per_channel)
    return {"input_features": sound, "decoder_input_ids": words(generator, batch, length)}


def wave(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"input_values": noise(generator, batch, 1600), "decoder_input_ids": words(generator, batch, length)}


both = partial(row, head="seq2seq-lm", inputs=tokens_twice)
hear = partial(row, head="speech-seq2seq")

PAIRS = [
    both("t5", sized(T5), t5),
    both("mt5", sized(T5), t5),
    both("umt5", sized(T5), t5),
    both("longt5", sized(T5, local_radius=3), t5, legacy=("encoder",)),
    both("longt5-global", sized(T5, local_radius=3, **GLOBAL), t5, of="longt5", legacy=("encoder",)),
    both("switch_transformers", sized(T5, **SPARSE, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1), t5),
    both("bart", sized(BART), bart),
    both("mbart", sized(BART), bart),
    both("pegasus", sized(BART), bart),
    both("pegasus_x", sized(BART, num_global_tokens=2, block_size=4), pegasus_x, legacy=("encoder",)),
    both("m2m_100", sized(BART), bart),
    both("nllb-moe", sized(BART, **SPARSE, encoder_sparse_step=2, decoder_sparse_step=2), bart),
    both("marian", sized(BART, decoder_vocab_size=VOCAB), bart),
    both("blenderbot", sized(BART), bart),
    both("blenderbot-small", sized(BART), bart),
    both("plbart", sized(without(BART, "decoder_start_token_id")), bart),
    both("mvp", sized(BART), bart, legacy=EVERY_KIND),
    both("prophetnet", sized(PROPHETNET), prophetnet, legacy=EVERY_KIND),
    both("fsmt", sized(FSMT), bart, legacy=EVERY_KIND),
    both("led", sized(LED, attention_window=4), bart, legacy=EVERY_KIND),
    both("t5gemma", composed(encoder=own(**SLIDING), decoder=own(**SLIDING), vocab_size=VOCAB), two_models),
    both(
        "bert-to-bert",
        composed(
            encoder=typed("bert", stack()),
            decoder=typed("bert", stack(is_decoder=True, add_cross_attention=True)),
            decoder_start_token_id=1,
            pad_token_id=0,
        ),
        two_models,
        of="encoder-decoder",
    ),
    hear("whisper", sized(WHISPER, max_source_positions=10, num_mel_bins=8), bart, inputs=mel),
    hear("speech_to_text", sized(WHISPER, input_feat_per_channel=8, conv_channels=16), bart, inputs=features),
    hear("moonshine", sized(MOONSHINE), moonshine, inputs=wave),
    hear("moonshine-padded", sized(MOONSHINE, pad_head_dim_to_multiple_of=16), moonshine, of="moonshine", inputs=wave),
]
