"""What one row of the conformance tests is: a transformers family with tiny random sizes, drawn weights and its known truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from random import Random
from typing import Any

import torch
import transformers
from torch import Generator, Tensor, nn
from transformers import AutoConfig, PreTrainedConfig

Settings = Callable[[Random], dict[str, Any]]
Sites = Callable[[PreTrainedConfig], list["Site"]]
Inputs = Callable[[PreTrainedConfig, Generator, int, int], dict[str, Tensor]]

VOCAB = 101
PICTURE = 3  # the word that a picture stands in for
FIRST_WORD = 4  # before it: padding, beginning, end and pictures, which change masks or meaning in some families
EVERY_KIND = ("encoder", "decoder", "cross", "pooling")

AUTO = {
    "base": "AutoModel",
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "speech-seq2seq": "AutoModelForSpeechSeq2Seq",
    "pretraining": "AutoModelForPreTraining",
    "image-classification": "AutoModelForImageClassification",
    "video-classification": "AutoModelForVideoClassification",
    "object-detection": "AutoModelForObjectDetection",
    "audio-classification": "AutoModelForAudioClassification",
    "ctc": "AutoModelForCTC",
    "image-text-to-text": "AutoModelForImageTextToText",
}


@dataclass(frozen=True)
class Site:
    """One call of attention: how many heads have weights of their own for q, and for k and v, and how wide each is."""

    kind: str
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None  # where v is not as wide as q and k
    padding: int = 0  # zeros that the model appends to each head for the call alone
    repeated: bool = False  # where k and v reach the attention function once per query head all the same


@dataclass(frozen=True)
class Family:
    """A row: how to draw a config, what to feed the model, and which attention sites it must turn out to have."""

    name: str
    model_type: str
    settings: Settings
    sites: Sites
    head: str = "causal-lm"
    inputs: Inputs | None = None  # tokens, where nothing else is said
    legacy: tuple[str, ...] = ()  # the kinds of site that it computes by itself, past transformers' AttentionInterface
    fixed: bool = False  # looks its attention class up by name: cannot be built with a name registered by others

    def config(self, seed: int) -> PreTrainedConfig:
        return AutoConfig.for_model(self.model_type, **self.settings(Random(seed)))

    def build(self, seed: int, attn_implementation: str | None = None) -> nn.Module:
        """The model in eval mode; without an implementation asked for, the one that transformers picks."""
        late = self.fixed and attn_implementation not in (None, "eager", "sdpa")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            auto = getattr(transformers, AUTO[self.head])
            model = auto.from_config(self.config(seed), attn_implementation=None if late else attn_implementation)
            draw_weights(model)
        if late:
            model.set_attn_implementation(attn_implementation)
        return model.eval()

    def example(self, model: nn.Module, seed: int, batch: int = 2, length: int = 7) -> dict[str, Tensor]:
        """What the model takes as keywords, without labels."""
        return (self.inputs or tokens)(model.config, Generator().manual_seed(seed), batch, length)

    def expected(self, model: nn.Module) -> list[Site]:
        """Every attention call of one forward pass over an example of two, in the order of execution."""
        return self.sites(model.config)

    def observable(self, model: nn.Module) -> list[Site]:
        """The expected calls that go through AttentionInterface."""
        return [site for site in self.expected(model) if site.kind not in self.legacy]


@torch.no_grad()
def draw_weights(model: nn.Module) -> None:
    """Matrices anew, vectors (biases, norms, gates) nudged, so that nothing is 0 or the same by accident."""
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(std=0.1)
        elif weight.is_floating_point():
            weight.add_(torch.randn_like(weight), alpha=0.1)


# --- sizes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    inner: int


WIDTH, HEADS, KV, DIM, INNER = map(attrgetter, ("width", "heads", "kv_heads", "head_dim", "inner"))


def draw_sizes(random: Random, own_head_dim: bool = False) -> Sizes:
    """Odd and even head counts, any grouping of them, and on request a head_dim that is not width / heads."""
    heads = random.choice((3, 4, 5, 6))
    head_dim = random.choice((8, 12))
    return Sizes(
        heads=heads,
        kv_heads=random.choice([groups for groups in range(1, heads + 1) if heads % groups == 0]),
        head_dim=head_dim,
        width=heads * (random.choice((4, 16)) if own_head_dim else head_dim),
        inner=random.choice((20, 28)),
    )


def without(names: Mapping[str, Any], *dropped: str) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name not in dropped}


def sized(names: Mapping[str, Any], own_head_dim: bool = False, **more: Any) -> Settings:
    """Settings from a template, where functions stand for what they make of the drawn sizes."""
    template = {**names, **more}

    def settings(random: Random) -> dict[str, Any]:
        sizes = draw_sizes(random, own_head_dim)
        return {name: value(sizes) if callable(value) else value for name, value in template.items()}

    return settings


def composed(**parts: Any) -> Settings:
    """Settings of a model made of models: each part that is a function draws its own sizes."""

    def settings(random: Random) -> dict[str, Any]:
        return {name: part(random) if callable(part) else part for name, part in parts.items()}

    return settings


def typed(model_type: str, settings: Settings) -> Settings:
    """Settings of a part that says itself what it is."""
    return lambda random: {"model_type": model_type, **settings(random)}


# --- sites ---------------------------------------------------------------------------------------------------------


def one_site(config: PreTrainedConfig, kind: str) -> Site:
    """A layer as the standard names of a config describe it."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Site(kind, heads, getattr(config, "num_key_value_heads", None) or heads, head_dim)


def decoder(config: PreTrainedConfig) -> list[Site]:
    return [one_site(config, "decoder")] * config.num_hidden_layers


def attending(config: PreTrainedConfig) -> list[Site]:
    """The layers of a hybrid that attend; the others are recurrent or convolutions."""
    kinds = ("full_attention", "sliding_attention", "hybrid")
    return [one_site(config, "decoder") for kind in config.layer_types if kind in kinds]


def encoder(config: PreTrainedConfig) -> list[Site]:
    return [one_site(config, "encoder")] * config.num_hidden_layers


def of(part: str, sites: Callable[[PreTrainedConfig], list[Site]]) -> Callable[[PreTrainedConfig], list[Site]]:
    """The sites of one sub-config."""
    return lambda config: sites(getattr(config, part))


def chain(*sites: Callable[[PreTrainedConfig], list[Site]]) -> Callable[[PreTrainedConfig], list[Site]]:
    return lambda config: [site for each in sites for site in each(config)]


def nothing(config: PreTrainedConfig) -> list[Site]:
    return []


# --- inputs --------------------------------------------------------------------------------------------------------


def words(generator: Generator, *shape: int) -> Tensor:
    return torch.randint(FIRST_WORD, VOCAB, shape, generator=generator)


def noise(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def tokens(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    return {"input_ids": words(generator, batch, length)}


def tokens_twice(config: PreTrainedConfig, generator: Generator, batch: int, length: int) -> dict[str, Tensor]:
    """For encoder and decoder; of different lengths, so that cross attention is not square."""
    return {"input_ids": words(generator, batch, length), "decoder_input_ids": words(generator, batch, length - 2)}
