"""Families that read text: decoders, encoders, and both at once."""

from family import (
    DIM, HEADS, INNER, KV, VOCAB, WIDTH, Family, Site, decoder, encoder, one_site, sized, tokens_twice,
)

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
STACK = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    **IDS,
}
GROUPED = STACK | {"num_key_value_heads": KV}
GPT = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": 64, **IDS}
OPTLIKE = {"vocab_size": VOCAB, "d_model": WIDTH, "ffn_dim": INNER, "num_layers": 2, "attention_heads": HEADS, "max_position_embeddings": 64, **IDS}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LINEAR = {"linear_conv_kernel_dim": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 2, "mamba_expand": 2}
MAMBA2 = MAMBA | {"mamba_n_heads": 4, "mamba_d_head": lambda s: s.width // 2, "mamba_chunk_size": 4}
LATENT = {"q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 10}
SLIDE = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}


def own(**more):
    """Settings of a grouped decoder whose head_dim is its own, not width / heads."""
    return sized(GROUPED | {"head_dim": DIM}, own_head_dim=True, **more)


def latent(config):
    """MLA: k and v are unpacked for every head before attention sees them, v narrower than q and k."""
    heads = config.num_attention_heads
    width = config.qk_nope_head_dim + config.qk_rope_head_dim
    return [Site("decoder", heads, heads, width, config.v_head_dim)] * config.num_hidden_layers


def attending(config):
    """The layers of a hybrid that attend."""
    return [one_site(config, "decoder") for kind in config.layer_types if kind in ("full_attention", "sliding_attention", "hybrid", "attention")]


def multi_query(config):
    return [Site("decoder", config.num_attention_heads, 1, config.hidden_size // config.num_attention_heads)] * 2


DECODERS = [
    Family("gpt2", "gpt2", sized(GPT, n_inner=INNER), decoder),
    Family("gpt2-scaled", "gpt2", sized(GPT, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True), decoder),
    Family("gpt_neo", "gpt_neo", sized({"vocab_size": VOCAB, "hidden_size": WIDTH, "num_layers": 2, "num_heads": HEADS, "intermediate_size": INNER, "max_position_embeddings": 64, **IDS}, attention_types=[[["global", "local"], 1]], window_size=4), decoder, legacy=True),
    Family("gpt_neox", "gpt_neox", sized(STACK), decoder),
    Family("gpt_neox_japanese", "gpt_neox_japanese", sized({k:v for k,v in STACK.items() if k!="intermediate_size"}, intermediate_multiple_size=2), decoder, legacy=True),
    Family("gptj", "gptj", sized(GPT, n_inner=INNER, rotary_dim=4), decoder, legacy=True),
    Family("codegen", "codegen", sized(GPT, n_head=4, n_embd=32, n_inner=INNER, rotary_dim=4), decoder, legacy=True),
    Family("openai-gpt", "openai-gpt", sized(GPT), decoder, legacy=True),
    Family("opt", "opt", sized({k:v for k,v in STACK.items() if k!="intermediate_size"}, ffn_dim=INNER, word_embed_proj_dim=20), decoder),
    Family("bloom", "bloom", sized({"vocab_size": VOCAB, "hidden_size": WIDTH, "n_layer": 2, "n_head": HEADS, **IDS}), decoder, legacy=True),
    Family("falcon", "falcon", sized({k:v for k,v in STACK.items() if k!="intermediate_size"}, ffn_hidden_size=INNER), multi_query, legacy=True),
    Family("falcon-alibi", "falcon", sized({k:v for k,v in STACK.items() if k!="intermediate_size"}, ffn_hidden_size=INNER, alibi=True, multi_query=False, parallel_attn=False, bias=True), decoder, legacy=True),
    Family("falcon-new", "falcon", sized({k:v for k,v in STACK.items() if k!="intermediate_size"}, ffn_hidden_size=INNER, new_decoder_architecture=True, num_kv_heads=KV), decoder, legacy=True),
    Family("mpt", "mpt", sized({"vocab_size": VOCAB, "d_model": WIDTH, "n_heads": HEADS, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2, **IDS}), decoder, legacy=True),
    Family("biogpt", "biogpt", sized(STACK), decoder),
    Family("ctrl", "ctrl", sized(GPT, dff=INNER), decoder),
    Family("xglm", "xglm", sized(OPTLIKE), decoder, legacy=True),
    Family("llama", "llama", own(), decoder),
    Family("llama-biased", "llama", sized(GROUPED, attention_bias=True, mlp_bias=True), decoder),
    Family("mistral", "mistral", own(sliding_window=4), decoder),
    Family("ministral", "ministral", own(**SLIDE), decoder),
    Family("ministral3", "ministral3", own(), decoder),
    Family("mixtral", "mixtral", own(**EXPERTS), decoder),
    Family("qwen2", "qwen2", sized(GROUPED), decoder),
    Family("qwen2_moe", "qwen2_moe", sized(GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=INNER, shared_expert_intermediate_size=INNER), decoder),
    Family("qwen3", "qwen3", own(), decoder),
    Family("qwen3_moe", "qwen3_moe", own(**EXPERTS, moe_intermediate_size=INNER), decoder),
    Family("qwen3_next", "qwen3_next", own(**LINEAR, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=INNER, shared_expert_intermediate_size=INNER, layer_types=["linear_attention", "full_attention"]), attending),
    Family("qwen3_5_text", "qwen3_5_text", own(**LINEAR, layer_types=["linear_attention", "full_attention"]), attending),
    Family("gemma", "gemma", own(), decoder),
    Family("gemma2", "gemma2", own(**SLIDE), decoder),
    Family("gemma3_text", "gemma3_text", own(**SLIDE), decoder),
    Family("gemma3n_text", "gemma3n_text", own(vocab_size_per_layer_input=VOCAB, hidden_size_per_layer_input=8, laurel_rank=4, num_hidden_layers=4, num_kv_shared_layers=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"]*2), decoder),
    Family("gemma4_text", "gemma4_text", own(vocab_size_per_layer_input=VOCAB, hidden_size_per_layer_input=8, num_hidden_layers=4, num_kv_shared_layers=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"]*2), decoder),
    Family("vaultgemma", "vaultgemma", own(**SLIDE), decoder),
    Family("recurrent_gemma", "recurrent_gemma", sized({k:v for k,v in GROUPED.items() if k!="max_position_embeddings"}, block_types=["recurrent", "attention"], attention_window_size=4), attending),
    Family("phi", "phi", sized(GROUPED), decoder),
    Family("phi-qk-norm", "phi", sized(GROUPED, qk_layernorm=True), decoder),
    Family("phi3", "phi3", sized(GROUPED, original_max_position_embeddings=64), decoder),
    Family("phimoe", "phimoe", sized(GROUPED, **EXPERTS), decoder),
    Family("stablelm", "stablelm", sized(GROUPED, use_qkv_bias=True), decoder),
    Family("stablelm-qk-norm", "stablelm", sized(GROUPED, qk_layernorm=True, use_parallel_residual=True), decoder),
    Family("starcoder2", "starcoder2", sized(GROUPED, sliding_window=4), decoder),
    Family("gpt_bigcode", "gpt_bigcode", sized(GPT, n_inner=INNER), decoder),
    Family("gpt_bigcode-multi-head", "gpt_bigcode", sized(GPT, n_inner=INNER, multi_query=False), decoder),
    Family("olmo", "olmo", sized(GROUPED), decoder),
    Family("olmo2", "olmo2", sized(GROUPED), decoder),
    Family("olmo3", "olmo3", sized(GROUPED, **SLIDE), decoder),
    Family("olmoe", "olmoe", sized(GROUPED, num_experts=4, num_experts_per_tok=2), decoder),
    Family("flex_olmo", "flex_olmo", sized(GROUPED, num_experts=4, num_experts_per_tok=2), decoder),
    Family("olmo_hybrid", "olmo_hybrid", sized(GROUPED, **LINEAR, layer_types=["linear_attention", "full_attention"]), attending),
    Family("cohere", "cohere", sized(GROUPED), decoder),
    Family("cohere-qk-norm", "cohere", sized(GROUPED, use_qk_norm=True), decoder),
    Family("cohere2", "cohere2", own(**SLIDE), decoder),
    Family("granite", "granite", sized(GROUPED, attention_multiplier=0.2), decoder),
    Family("granitemoe", "granitemoe", sized(GROUPED, **EXPERTS, attention_multiplier=0.2), decoder),
    Family("granitemoehybrid", "granitemoehybrid", sized(GROUPED, **EXPERTS, **MAMBA2, shared_intermediate_size=20, layer_types=["linear_attention", "full_attention"]), attending),
    Family("gpt_oss", "gpt_oss", own(**EXPERTS, **SLIDE), decoder),
    Family("glm", "glm", own(), decoder),
    Family("glm4", "glm4", own(), decoder),
    Family("glm4_moe", "glm4_moe", own(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=INNER, use_qk_norm=True), decoder),
    Family("smollm3", "smollm3", sized(GROUPED, no_rope_layers=[1, 0]), decoder),
    Family("nemotron", "nemotron", own(), decoder),
    Family("persimmon", "persimmon", sized(STACK), decoder),
    Family("helium", "helium", own(), decoder),
    Family("jamba", "jamba", sized(GROUPED, **MAMBA, mamba_dt_rank=4, num_experts=4, attn_layer_period=2, attn_layer_offset=1), lambda c: decoder(c)[1:]),
    Family("bamba", "bamba", sized(GROUPED, **MAMBA2, attn_layer_indices=[1]), lambda c: decoder(c)[1:]),
    Family("falcon_h1", "falcon_h1", sized(GROUPED, **MAMBA2, mamba_d_ssm=32), decoder),
    Family("zamba", "zamba", sized(GROUPED), decoder),
    Family("zamba2", "zamba2", sized(GROUPED), decoder),
    Family("minimax", "minimax", own(**EXPERTS, block_size=4, layer_types=["full_attention", "linear_attention"]), attending),
    Family("kimi_linear", "kimi_linear", own(), decoder),
    Family("lfm2", "lfm2", sized(GROUPED, layer_types=["conv", "full_attention"], block_multiple_of=4), attending),
    Family("deepseek_v2", "deepseek_v2", sized(GROUPED, **LATENT, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=INNER), latent),
    Family("deepseek_v3", "deepseek_v3", sized(GROUPED, **LATENT, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=INNER, first_k_dense_replace=1), latent),
    Family("minicpm3", "minicpm3", sized(GROUPED, **LATENT), latent),
    Family("youtu", "youtu", sized(GROUPED, **LATENT), latent),
    Family("longcat_flash", "longcat_flash", sized(GROUPED, **LATENT), latent),
    Family("dbrx", "dbrx", sized({"vocab_size": VOCAB, "d_model": WIDTH, "n_heads": HEADS, "n_layers": 2, "max_seq_len": 64, **IDS}, attn_config=lambda s: {"kv_n_heads": s.kv_heads, "clip_qkv": 8.0}, ffn_config={"ffn_hidden_size": 20}), decoder),
    Family("jetmoe", "jetmoe", sized({k:v for k,v in GROUPED.items() if k!="num_attention_heads"}, kv_channels=DIM, **EXPERTS), decoder),
    Family("arcee", "arcee", own(), decoder),
    Family("exaone4", "exaone4", own(**SLIDE), decoder),
    Family("ernie4_5", "ernie4_5", own(), decoder),
    Family("hunyuan_v1_dense", "hunyuan_v1_dense", own(), decoder),
    Family("apertus", "apertus", sized(GROUPED), decoder),
    Family("seed_oss", "seed_oss", own(), decoder),
    Family("diffllama", "diffllama", sized(GROUPED), decoder),
    Family("bitnet", "bitnet", sized(GROUPED), decoder),
    Family("doge", "doge", sized(GROUPED), decoder),
    Family("nanochat", "nanochat", sized(GROUPED), decoder),
    Family("llama4_text", "llama4_text", own(**EXPERTS), decoder),
    Family("modernbert-decoder", "modernbert-decoder", sized(STACK), decoder),
    Family("dots1", "dots1", own(), decoder),
    Family("hrm_text", "hrm_text", sized(STACK), decoder),
    Family("mimo_v2_flash", "mimo_v2_flash", own(), decoder),
    Family("zaya", "zaya", own(), decoder),
]
TEXT = DECODERS
