// What a state says: questions that several views ask of it, each answered in one place.

import { at } from "./arrays.js";
import { ASLEEP, headKey } from "./fold.js";
import { numberOf } from "./format.js";

// Every head that the model has or had, layer by layer.
export function headsOf(state) {
  return state.layers.flatMap((count, layer) => Array.from({ length: count }, (_, head) => [layer, head]));
}

// The number of the last cycle that anything is known of; 0 is before the first.
export function lastCycle(state) {
  const lists = [state.grids, state.operations, state.decisions, state.courses, state.evaluations];
  return Math.max(0, state.phase?.cycle ?? 0, ...lists.map((list) => list.at(-1)?.cycle ?? 0));
}

// What a head is when this cycle is over, with the event that made it so.
export function lifeAt(state, head, cycle) {
  const life = state.lives.get(headKey(head)) ?? [];
  let found = { state: "active", seq: null, cycle: 0 };
  for (const turn of life) if (turn.cycle <= cycle) found = turn;
  return found;
}

export function awakeAt(state, cycle) {
  let awake = state.layers.reduce((sum, heads) => sum + heads, 0);
  for (const life of state.lives.values()) if (ASLEEP.has(life.findLast((turn) => turn.cycle <= cycle)?.state)) awake -= 1;
  return awake;
}

// How a run stands, in one word: by its own last event, else by what the server or the report knows of its process.
export function standingOf(state, row = null) {
  if (state?.over) return state.over;
  const known = row?.state ?? state?.described.state;
  if (known === "stopped" || known === "unreadable") return known;
  return state ? "running" : (known ?? "unread");
}

// The measurement of a signal that was made in this cycle, the last one; or null.
export function gridOf(state, cycle, signal) {
  return state.grids.findLast((each) => each.cycle === cycle && each.grids[signal]) ?? null;
}

export function signalsOf(state) {
  return [
    ...new Set(state.grids.flatMap((each) => [...each.signals, ...Object.keys(each.grids)].filter((name) => each.grids[name]))),
  ];
}

export function valueIn(measured, signal, head) {
  return measured?.grids[signal] ? at(measured.grids[signal], ...head) : NaN;
}

export function evaluationNamed(state, name) {
  return state.evaluations.findLast((each) => each.name === name) ?? null;
}

// The held-out stages that stand around a cycle: where it started from, after the cut, after the recovery.
export function stagesAround(state, cycle) {
  const find = (stage) => state.evaluations.findLast((each) => each.stage === stage && each.cycle === cycle) ?? null;
  const pruned = find("pruned");
  const tuned = find("fine_tuned");
  const first = pruned ?? tuned;
  const start = first ? (state.evaluations.findLast((each) => each.seq < first.seq) ?? null) : null;
  return { baseline: state.evaluations.find((each) => each.stage === "baseline") ?? null, start, pruned, tuned };
}

// The last operation up to this cycle that says what the model weighs.
export function weighedAt(state, cycle) {
  return state.operations.findLast((each) => each.cycle <= cycle && "parameters" in each.after) ?? null;
}

// How fast the model was found to be beside its own architecture with all heads; or null where nobody measured.
export function speedOf(state) {
  return state.comparisons.findLast((each) => "prefill_ratio" in each.values) ?? null;
}

// Whether the bounds of a measured speed leave room for none: then it is perhaps no faster.
export function isDoubtful(values, name) {
  return numberOf(values[`${name}_low`]) <= 1 && numberOf(values[`${name}_high`]) >= 1;
}

// What is known of speed: "measured", "masked" (heads sleep and no weight left the model), "nothing" slept, or "unmeasured".
export function speedKind(state) {
  if (speedOf(state)) return "measured";
  const first = state.operations[0];
  if (!first) return "nothing";
  const last = weighedAt(state, Infinity);
  if (!last) return "unmeasured";
  return numberOf(last.after.parameters) < numberOf(first.before.parameters) ? "unmeasured" : "masked";
}

export function settledStep(state) {
  return state.notices.find((each) => each.about === "settled" && each.step !== null) ?? null;
}

export function attentionOf(state, head) {
  const key = headKey(head);
  return state.attention.filter((each) => each.maps[key]);
}

export function watchedHeads(state) {
  const seen = new Map();
  for (const each of state.attention) for (const head of each.heads) if (each.maps[headKey(head)]) seen.set(headKey(head), head);
  return [...seen.values()].sort((one, other) => one[0] - other[0] || one[1] - other[1]);
}

// Lowest and highest of everything finite that a signal was ever measured at, so that colours mean the same in every cycle.
export function rangeOf(state, signal) {
  let low = Infinity;
  let high = -Infinity;
  for (const { grids } of state.grids) {
    for (const value of grids[signal]?.values ?? []) {
      if (Number.isFinite(value)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  return low <= high ? [low, high] : null;
}
