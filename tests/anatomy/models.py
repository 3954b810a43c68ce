"""Small real models for the tests of this room."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def llama(**more: object) -> LlamaForCausalLM:
    """Three layers of six heads on two key-value heads, a head width that is not width / heads."""
    sizes = {"hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**sizes | {"intermediate_size": 20, "vocab_size": 50, "pad_token_id": 0} | more)).eval()


def gpt2(**more: object) -> GPT2LMHeadModel:
    """Fused projections, stored the other way round."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(n_embd=24, n_layer=2, n_head=4, vocab_size=50, n_positions=32, **more)).eval()


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(1, 50, shape, generator=torch.Generator().manual_seed(1))
