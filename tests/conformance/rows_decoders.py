"""Decoders: families that write text word by word."""

from typing import Any

from transformers import PreTrainedConfig

from tests.conformance.family import (
    DIM,
    EVERY_KIND,
    HEADS,
    INNER,
    KV,
    VOCAB,
    WIDTH,
    Family,
    Settings,
    Site,
    Sites,
    Sizes,
    attending,
    decoder,
    one_site,
    sized,
    without,
)

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BASE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    **IDS,
}
STACK = BASE | {"intermediate_size": INNER}
GROUPED = STACK | {"num_key_value_heads": KV}
GPT = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
NEO = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_layers": 2, "num_heads": HEADS, "intermediate_size": INNER, **IDS}
XGLM = {"vocab_size": VOCAB, "d_model": WIDTH, "num_layers": 2, "attention_heads": HEADS, "ffn_dim": INNER, **IDS}
MPT = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "n_heads": HEADS, "max_seq_len": 64, **IDS}

FALCON_RW = {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
FALCON_40B = {"new_decoder_architecture": True, "num_kv_heads": KV}

PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
HALF_ROPE = PLAIN_ROPE | {"partial_rotary_factor": 0.5}
YARN = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4}
STRETCHED_ROPE = PLAIN_ROPE | YARN | {"llama_4_scaling_beta": 0.1}
SLIDING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
GRIFFIN = {"block_types": ["recurrent", "attention"], "attention_window_size": 4}
SHARED = {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]}
WORDS_PER_LAYER = {"vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 8}
GEMMA4 = WORDS_PER_LAYER | {"global_head_dim": 16}
LATE_SHARING = {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": SLIDING["layer_types"] * 2, "sliding_window": 4}

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
NUMBERED = {"num_experts": 4, "num_experts_per_tok": 2}
SMALL_EXPERTS = NUMBERED | {"moe_intermediate_size": INNER}
SHARED_EXPERT = SMALL_EXPERTS | {"shared_expert_intermediate_size": INNER}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": INNER}
DENSE_FIRST = ROUTED | {"n_shared_experts": 1, "first_k_dense_replace": 1}

KEYS = {"linear_num_key_heads": 2, "linear_key_head_dim": 8}
DELTA = KEYS | {"linear_num_value_heads": 4, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 2}
KIMI = {"linear_head_dim": 8, "linear_num_heads": 3, "linear_conv_kernel_dim": 2}
MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 2, "mamba_dt_rank": 4}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": lambda sizes: sizes.width // 2, "mamba_d_state": 8, "mamba_chunk_size": 4}
ZAMBA2 = {"n_mamba_heads": 4, "mamba_d_state": 8, "chunk_size": 4, "use_shared_attention_adapter": True, "adapter_rank": 4}
LOW_RANK = {"num_key_value_heads": HEADS, "q_lora_rank": 20, "kv_lora_rank": 16}
LATENT = LOW_RANK | {"qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 10}
LONGCAT = {"head_dim": 4, "ffn_hidden_size": INNER, "expert_ffn_hidden_size": INNER, "moe_topk": 2}


def stack(**more: Any) -> Settings:
    return sized(STACK, **more)


def grouped(**more: Any) -> Settings:
    return sized(GROUPED, **more)


def own(**more: Any) -> Settings:
    """Grouped heads whose head_dim is their own, not width / heads."""
    return sized(GROUPED | {"head_dim": DIM}, own_head_dim=True, **more)


def gpt(**more: Any) -> Settings:
    return sized(GPT, **more)


def paired(**more: Any) -> Settings:
    """Heads that come in pairs: the first half of them minus the second."""
    return stack(num_attention_heads=4, num_key_value_heads=2, hidden_size=lambda sizes: 4 * sizes.head_dim, **more)


def twice_the_heads(sizes: Sizes) -> int:
    return 2 * sizes.heads


def row(name: str, settings: Settings, sites: Sites = decoder, of: str = "", **more: Any) -> Family:
    return Family(name, of or name, settings, sites, **more)


def latent(config: PreTrainedConfig) -> list[Site]:
    """MLA: k and v are unpacked for every head before attention sees them, v narrower than q and k."""
    width = config.qk_nope_head_dim + config.qk_rope_head_dim
    heads = config.num_attention_heads
    layers = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return [Site("decoder", heads, heads, width, config.v_head_dim) for kind in layers if kind == "full_attention"]


def twice(config: PreTrainedConfig) -> list[Site]:
    """Two calls in each layer."""
    return decoder(config) * 2


def per_layer(config: PreTrainedConfig) -> list[Site]:
    """Gemma 4: the layers that see everything have wider heads."""
    return [one_site(config.per_layer_config[layer], "decoder") for layer in range(config.num_hidden_layers)]


def one_group(config: PreTrainedConfig) -> list[Site]:
    heads = config.num_attention_heads
    return [Site("decoder", heads, 1, config.hidden_size // heads)] * config.num_hidden_layers


def few_groups(config: PreTrainedConfig) -> list[Site]:
    """Falcon's newer architecture."""
    heads = config.num_attention_heads
    return [Site("decoder", heads, config.num_kv_heads, config.hidden_size // heads)] * config.num_hidden_layers


def heads_of_experts(config: PreTrainedConfig) -> list[Site]:
    """JetMoE: each expert chosen for a word brings its own query heads to the same k and v."""
    site = Site("decoder", config.num_attention_heads, config.num_key_value_heads, config.head_dim, repeated=True)
    return [site] * config.num_hidden_layers


def more_groups_when_sliding(config: PreTrainedConfig) -> list[Site]:
    """MiMo: sliding layers have twice the k and v heads."""
    groups = [config.num_key_value_heads * (2 if kind == "sliding_attention" else 1) for kind in config.layer_types]
    return [Site("decoder", config.num_attention_heads, each, config.head_dim, config.v_head_dim) for each in groups]


DECODERS = [
    row("gpt2", gpt(n_inner=INNER)),
    row("gpt2-scaled", gpt(scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True), of="gpt2"),
    row("gpt_neo", sized(NEO, attention_types=[[["global", "local"], 1]], window_size=4), legacy=EVERY_KIND, fixed=True),
    row("gpt_neox", stack()),
    row("gpt_neox_japanese", sized(BASE, intermediate_multiple_size=2), legacy=EVERY_KIND),
    row("gptj", gpt(n_inner=INNER, rotary_dim=4), legacy=EVERY_KIND, fixed=True),
    # CodeGen cuts its fused qkv in four for the TPUs it was trained on: heads come in fours
    row("codegen", gpt(n_head=4, n_embd=lambda sizes: 4 * sizes.head_dim, n_inner=INNER, rotary_dim=4), legacy=EVERY_KIND),
    row("openai-gpt", gpt(), legacy=EVERY_KIND),
    row("opt", sized(BASE, ffn_dim=INNER, word_embed_proj_dim=20)),
    row("bloom", sized({"vocab_size": VOCAB, "hidden_size": WIDTH, "n_layer": 2, "n_head": HEADS, **IDS}), legacy=EVERY_KIND),
    row("falcon", sized(BASE, ffn_hidden_size=INNER), one_group, legacy=EVERY_KIND, fixed=True),
    row("falcon-alibi", sized(BASE, **FALCON_RW), of="falcon", legacy=EVERY_KIND, fixed=True),
    row("falcon-new", sized(BASE, **FALCON_40B), few_groups, of="falcon", legacy=EVERY_KIND, fixed=True),
    row("mpt", sized(MPT, expansion_ratio=2), legacy=EVERY_KIND),
    row("biogpt", stack()),
    row("ctrl", gpt(dff=INNER)),
    row("xglm", sized(XGLM), legacy=EVERY_KIND),
    row("llama", own()),
    row("llama-biased", grouped(attention_bias=True, mlp_bias=True), of="llama"),
    row("mistral", own(sliding_window=4)),
    row("ministral", own(**SLIDING)),
    row("ministral3", own(rope_parameters=STRETCHED_ROPE)),
    row("mixtral", own(**EXPERTS)),
    row("qwen2", grouped()),
    row("qwen2_moe", grouped(**SHARED_EXPERT)),
    row("qwen3", own()),
    row("qwen3_moe", own(**SMALL_EXPERTS)),
    row("qwen3_next", own(**HYBRID, **DELTA, **SHARED_EXPERT), attending),
    row("qwen3_5_text", own(**HYBRID, **DELTA), attending),
    row("gemma", own()),
    row("gemma2", own(**SLIDING)),
    row("gemma3_text", own(**SLIDING)),
    row("gemma3n_text", own(**WORDS_PER_LAYER, **LATE_SHARING, laurel_rank=4)),
    row("gemma4_text", own(**GEMMA4, **LATE_SHARING), per_layer),
    row("gemma4_text-k-is-v", own(**GEMMA4, **SLIDING, attention_k_eq_v=True), per_layer, of="gemma4_text"),
    row("vaultgemma", own(**SLIDING)),
    row("recurrent_gemma", sized(without(GROUPED, "max_position_embeddings"), **GRIFFIN), attending),
    row("phi", grouped()),
    row("phi-qk-norm", grouped(qk_layernorm=True), of="phi"),
    row("phi3", grouped(original_max_position_embeddings=64)),
    row("phimoe", grouped(**EXPERTS)),
    row("stablelm", grouped(use_qkv_bias=True, rope_parameters=HALF_ROPE)),
    row("stablelm-qk-norm", grouped(qk_layernorm=True, use_parallel_residual=True, rope_parameters=HALF_ROPE), of="stablelm"),
    row("starcoder2", grouped(sliding_window=4)),
    row("gpt_bigcode", gpt(n_inner=INNER)),
    row("gpt_bigcode-multi-head", gpt(n_inner=INNER, multi_query=False), of="gpt_bigcode"),
    row("olmo", grouped(clip_qkv=8.0)),
    row("olmo2", grouped()),
    row("olmo3", grouped(**SLIDING)),
    row("olmoe", grouped(**NUMBERED)),
    row("flex_olmo", grouped(**NUMBERED)),
    row("olmo_hybrid", grouped(**HYBRID, **DELTA), attending),
    row("cohere", grouped()),
    row("cohere-qk-norm", grouped(use_qk_norm=True), of="cohere"),
    row("cohere2", own(**SLIDING)),
    row("granite", grouped(attention_multiplier=0.2)),
    row("granitemoe", grouped(**EXPERTS, attention_multiplier=0.2)),
    row("granitemoehybrid", grouped(**HYBRID, **EXPERTS, **MAMBA2, shared_intermediate_size=20), attending),
    row("gpt_oss", own(**EXPERTS, **SLIDING, rope_parameters=PLAIN_ROPE)),
    row("glm", own()),
    row("glm4", own()),
    row("glm4_moe", own(**DENSE_FIRST, use_qk_norm=True)),
    row("smollm3", grouped(no_rope_layers=[1, 0])),
    row("nemotron", own()),
    row("persimmon", stack()),
    row("helium", sized(GROUPED | {"head_dim": DIM})),
    row("jamba", grouped(**MAMBA, num_experts=4, attn_layer_period=2, attn_layer_offset=1), attending),
    row("bamba", grouped(**MAMBA2, attn_layer_indices=[1]), attending),
    row("falcon_h1", grouped(**MAMBA2, mamba_d_ssm=lambda sizes: 2 * sizes.width)),
    row("zamba", grouped(**MAMBA, **SHARED), attending),
    row("zamba2", stack(**ZAMBA2, **SHARED), attending),
    row("minimax", own(**EXPERTS, block_size=4, layer_types=["full_attention", "linear_attention"]), attending),
    row("kimi_linear", stack(**HYBRID, **KIMI, **LATENT, **EXPERTS, moe_intermediate_size=INNER), latent),
    row("lfm2", grouped(layer_types=["conv", "full_attention"], block_multiple_of=4), attending),
    row("deepseek_v2", stack(**LATENT, **ROUTED), latent),
    row("deepseek_v3", stack(**LATENT, **DENSE_FIRST, n_group=2, topk_group=1), latent),
    row("minicpm3", stack(**LATENT), latent),
    row("youtu", stack(**LATENT), latent),
    row("longcat_flash", sized(BASE, **LATENT, **LONGCAT, n_routed_experts=4, zero_expert_num=2), latent),
    row("dbrx", sized(MPT, attn_config=lambda sizes: {"kv_n_heads": sizes.kv_heads, "clip_qkv": 8.0, "rope_theta": 1e4})),
    row("jetmoe", sized(without(GROUPED, "num_attention_heads"), kv_channels=DIM, **EXPERTS), heads_of_experts),
    row("arcee", own()),
    row("exaone4", own(**SLIDING)),
    row("ernie4_5", own()),
    row("hunyuan_v1_dense", own()),
    row("apertus", grouped(rope_parameters=PLAIN_ROPE)),
    row("seed_oss", own()),
    row("diffllama", paired(), twice),
    row("bitnet", grouped()),
    row("doge", grouped()),
    row("nanochat", grouped()),
    row("llama4_text", own(**EXPERTS, intermediate_size_mlp=INNER, attention_chunk_size=4, no_rope_layers=[1, 0])),
    row("modernbert-decoder", stack(cls_token_id=1, sep_token_id=2, local_attention=8, layer_types=SLIDING["layer_types"])),
    row("dots1", own(**DENSE_FIRST)),
    row("hrm_text", sized(STACK | {"head_dim": DIM}, num_hidden_layers=1, H_cycles=2, L_cycles=2)),
    row("mimo_v2_flash", own(**ROUTED, **SLIDING, num_attention_heads=twice_the_heads, v_head_dim=10), more_groups_when_sliding),
    row("zaya", sized(without(GROUPED, "intermediate_size") | {"head_dim": DIM}, True, moe_intermediate_size=INNER, num_experts=4)),
]
