// What is said of phases, stages and signals; names that are not known here are shown as the record has them.

import { harmless } from "./format.js";

const SIGNALS = new Map(
  Object.entries({
    entropy: ["nats", "how widely a head spreads its attention"],
    normalized_entropy: ["", "entropy as a share of the most that was possible"],
    sink: ["", "weight on the first token"],
    previous_token: ["", "weight on the token before"],
    self_token: ["", "weight on the token itself"],
    distance: ["tokens", "how far back a head looks on average"],
    confidence: ["", "the largest weight of each row"],
    output_norm: ["", "how much a head writes"],
    redundancy: ["", "how much of a head its neighbours could say"],
    taylor: ["nats", "how the loss would change without the head, to first order"],
    fisher: ["nats²", "squared slope of the loss along the head's gate"],
    gradient: ["", "norm of the loss's slope along the head's weights"],
    magnitude: ["", "norm of the head's weights"],
    wake: ["nats", "how the loss would change as a sleeping head wakes"],
    ablation: ["nats", "how the loss did change without the head"],
  }),
);

export function unitOf(signal) {
  return SIGNALS.get(signal)?.[0] ?? "";
}

export function saysOf(signal) {
  return SIGNALS.get(signal)?.[1] ?? "";
}

const NAMES = new Map(
  Object.entries({
    prefill_ratio: "reading, times as fast",
    decode_ratio: "writing, times as fast",
    train_loss: "training loss",
    eval_loss: "held-out loss",
    learning_rate: "learning rate",
    gradient_norm: "gradient norm",
    loss_nats: "held-out loss",
    parameter_bytes: "size of the weights",
    cache_bytes_per_token: "cache a token",
    source_cache_bytes_per_token: "cache a source token",
    attention_flops: "attention operations",
  }),
);

export function plainName(name) {
  const before = /^(.+)_before$/.exec(name);
  if (before && NAMES.has(before[1])) return `${NAMES.get(before[1])} before`;
  return NAMES.get(name) ?? harmless(name, 80).replaceAll("_", " ");
}

// A stage in words: "fine_tuned 3" is "fine tuned, cycle 3".
export function plainStage(name) {
  return plainName(name).replace(/ (\d+)$/, ", cycle $1");
}

export function unitOfSize(name) {
  if (/bytes/.test(name)) return "bytes";
  return /parameters|flops/.test(name) ? "count" : "";
}

// Kinds of phases, for the colours of the timeline.
const KINDS = new Map(
  Object.entries({
    "warm-up": "learn",
    "fine-tuning": "learn",
    training: "learn",
    analysis: "measure",
    "regrowth analysis": "measure",
    pruning: "cut",
    regrowth: "grow",
  }),
);

export function kindOfPhase(phase) {
  return KINDS.get(phase) ?? "judge";
}

export const KIND_WORDS = {
  learn: "learning",
  measure: "measuring heads",
  cut: "pruning",
  grow: "regrowing",
  judge: "judging and the rest",
};

const STANDINGS = new Map(
  Object.entries({
    running: "running",
    finished: "finished",
    failed: "stopped early",
    stopped: "stopped without a word",
    unreadable: "cannot be read",
    unread: "not read yet",
  }),
);

export function wordOfStanding(standing) {
  return STANDINGS.get(standing) ?? plainName(standing);
}
