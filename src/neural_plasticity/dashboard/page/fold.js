// The record folded into what the page shows: (state, item) -> state, item after item, the same for a file and for a stream.
//
// No clock, no document, no randomness. The state that is given is used up, so that a million items cost what they hold
// and not their square; only the state that comes back may be read on. Lists have room for so much and no more: an
// hour of a fast run must not fill a browser. What was thinned out is counted, and the page says so.

import { unpacked } from "./arrays.js";
import { isDrawable, layersIn, listOf, tableOf, unfitness, wordOf } from "./fitness.js";
import { harmless, numberOf } from "./format.js";
import { appended, emptySeries } from "./series.js";

// Phases whose metrics only tell how far they are; all others learn, and their metrics are curves.
const MEASURING = new Set([
  "evaluation",
  "sample",
  "analysis",
  "pruning",
  "regrowth analysis",
  "regrowth",
  "comparison",
  "speed",
  "saving",
  "complete",
  "reading",
]);
const BECOMES = new Map([
  ["prune", "dormant"],
  ["revive", "revived"],
  ["grow", "grown"],
  ["remove", "removed"],
  ["forget", "removed"],
]);
export const ASLEEP = new Set(["dormant", "removed"]);

const ROOMS = {
  phases: 3000,
  courses: 400,
  grids: 800,
  decisions: 20000,
  operations: 4000,
  evaluations: 2000,
  comparisons: 200,
  samples: 600,
  attention: 400,
  notices: 300,
  requests: 300,
  checkpoints: 100,
};

export function emptyState(described = {}) {
  const state = {
    described,
    name: wordOf(described.name),
    job: "",
    resumed: false,
    light: false,
    seq: -1,
    items: 0,
    began: null,
    time: null,
    idle: 0,
    phase: null,
    over: null,
    finished: null,
    failed: null,
    layers: layersIn(described.anatomy),
    lives: new Map(),
    thinned: blank(),
    latest: blank(),
  };
  for (const list of Object.keys(ROOMS)) state[list] = [];
  return state;
}

// What a run says of itself, where that comes after its first events: heads that these told of stay.
export function redescribe(state, described) {
  const layers = layersIn(described.anatomy);
  const most = Math.max(layers.length, state.layers.length);
  state.described = described;
  state.layers = Array.from({ length: most }, (_, layer) => Math.max(layers[layer] ?? 0, state.layers[layer] ?? 0));
}

export function fold(state, item) {
  if (typeof item?.seq !== "number" || item.seq <= state.seq) return state; // a page that was fetched twice
  state.seq = item.seq;
  state.items += 1;
  const unfit = unfitness(item);
  if (unfit) return leftOut(state, item, unfit);
  state.began ??= item.time;
  try {
    if (Object.hasOwn(STEPS, item.kind)) STEPS[item.kind](state, item);
  } catch (fault) {
    leftOut(state, item, fault.message);
  }
  state.time = item.time;
  if (typeof item.missing === "string") tellOf(state, item, item.missing);
  return state;
}

function leftOut(state, { seq, kind, time }, why) {
  const told = { seq, time: unfitness({ time }) ? state.time : time };
  tellOf(state, told, `Event ${seq} (${harmless(kind, 40)}) cannot be shown and is left out: ${why}.`);
  return state;
}

const STEPS = {
  run(state, item) {
    state.name = wordOf(item.name) || state.name;
    state.job = item.job;
    state.resumed = Boolean(item.resumed);
    if (state.time === null) return;
    state.over = null; // it goes on; while it stood still, nothing took its time
    state.idle += Math.max(0, item.time - state.time);
    if (state.phase) state.phase.ended ??= state.time;
  },
  phase(state, item) {
    if (state.phase) state.phase.ended ??= item.time;
    state.over = null; // a run that was stopped may go on
    state.phase = {
      seq: item.seq,
      phase: harmless(item.phase, 60),
      cycle: item.cycle ?? null,
      steps: item.steps ?? null,
      began: item.time,
    };
    Object.assign(state.phase, { ended: null, step: null, at: null });
    keep(state, "phases", state.phase);
    if (!MEASURING.has(item.phase)) beginCourse(state, state.phase.phase, state.phase.cycle, item);
  },
  metrics(state, item) {
    if (state.phase) Object.assign(state.phase, { step: item.step, at: item.seq });
    if (state.phase && MEASURING.has(state.phase.phase)) return;
    if (!state.courses.length) beginCourse(state, "training", null, item);
    learn(state, state.courses.at(-1), item.step ?? 0, tableOf(item, "values"), item.seq);
  },
  heads(state, item) {
    const grids = arraysOf(state, item, 2);
    for (const grid of Object.values(grids)) widenLayers(state, grid.shape);
    keep(state, "grids", {
      seq: item.seq,
      cycle: item.cycle ?? 0,
      step: item.step ?? null,
      path: wordOf(item.path),
      signals: listOf(item, "signals").filter(wordOf),
      grids,
    });
  },
  decision(state, item) {
    const { seq, cycle = 0 } = item;
    const numbers = { score: numberOf(item.score), rank: item.rank, threshold: numberOf(item.threshold) };
    keep(state, "decisions", {
      seq,
      cycle,
      head: item.head,
      action: harmless(item.action, 40),
      strategy: harmless(item.strategy, 60),
      reason: harmless(item.reason, 400),
      ...numbers,
    });
  },
  operation(state, item) {
    const becomes = BECOMES.get(item.action) ?? harmless(item.action, 40);
    const cycle = item.cycle ?? 0;
    const { seq, action, mode, largest_difference = null } = item;
    const [before, after] = [tableOf(item, "before"), tableOf(item, "after")];
    const heads = listOf(item, "heads");
    for (const head of heads) widenLayers(state, [head[0] + 1, head[1] + 1], head[0]);
    for (const head of heads) {
      const key = headKey(head);
      if (!state.lives.has(key)) state.lives.set(key, []);
      state.lives.get(key).push({ cycle, state: becomes, seq });
    }
    keep(state, "operations", { seq, cycle, action, mode, heads, before, after, largest_difference });
  },
  sample(state, item) {
    const { seq, cycle = null, stage, seed } = item;
    keep(state, "samples", {
      seq,
      cycle,
      stage,
      seed,
      name: stageName(stage, cycle),
      prompt: harmless(item.prompt),
      text: harmless(item.text),
    });
  },
  attention(state, item) {
    const { seq, cycle = null, stage } = item;
    keep(state, "attention", {
      seq,
      cycle,
      stage,
      heads: listOf(item, "heads"),
      tokens: listOf(item, "tokens"),
      name: stageName(stage, cycle),
      maps: arraysOf(state, item, 2),
    });
  },
  evaluation(state, item) {
    const { seq, cycle = null, stage } = item;
    const values = tableOf(item, "values");
    const last = state.evaluations.at(-1)?.documents;
    const named = listOf(item, "documents");
    const documents = sameTexts(last, named) ? last : named;
    keep(state, "evaluations", {
      seq,
      cycle,
      stage,
      values,
      documents,
      name: stageName(stage, cycle),
      losses: arraysOf(state, item, 1).document_losses ?? null,
    });
  },
  comparison(state, item) {
    const { seq, before, after } = item;
    keep(state, "comparisons", {
      seq,
      before,
      after,
      values: tableOf(item, "values"),
      documents: listOf(item, "documents"),
      method: wordOf(item.method),
      differences: arraysOf(state, item, 1).differences ?? null,
    });
  },
  notice(state, item) {
    tellOf(state, item, item.message);
  },
  checkpoint(state, item) {
    keep(state, "checkpoints", { seq: item.seq, step: item.step, cycle: item.cycle ?? null });
  },
  request(state, item) {
    const { seq, time, granted } = item;
    keep(state, "requests", {
      seq,
      time,
      granted,
      name: harmless(item.name, 100),
      wish: harmless(JSON.stringify(item.wish), 400),
      answer: harmless(item.answer, 400),
    });
  },
  finished(state, item) {
    state.finished = { seq: item.seq, time: item.time, summary: tableOf(item, "summary") };
    state.over = "finished";
    if (state.phase) state.phase.ended ??= item.time;
  },
  failed(state, item) {
    state.over = "failed";
    state.failed = {
      seq: item.seq,
      time: item.time,
      error: harmless(item.error, 100),
      message: harmless(item.message, 2000),
      phase: item.phase ?? "",
    };
    if (state.phase) state.phase.ended ??= item.time;
  },
};

export function headKey(head) {
  return `${head[0]}.${head[1]}`;
}

// The name that a stage is remembered by, as comparisons call it.
function stageName(stage, cycle) {
  return harmless(cycle === null || cycle === undefined ? stage : `${stage} ${cycle}`, 60);
}

// A dictionary that knows no words of its own: names of metrics come from the record, and one could be `__proto__`.
function blank() {
  return Object.create(null);
}

function tellOf(state, item, message) {
  keep(state, "notices", {
    seq: item.seq,
    time: item.time,
    cycle: item.cycle ?? null,
    phase: state.phase?.phase ?? "",
    about: item.about ?? "",
    step: item.step ?? null,
    message: harmless(message, 2000),
  });
}

function beginCourse(state, phase, cycle, item) {
  const last = state.courses.at(-1);
  const base = last ? last.base + last.done : 0;
  const rates = item.kind === "phase" ? (arraysOf(state, item, 2).rates ?? null) : null;
  if (rates) widenLayers(state, rates.shape);
  const unread = rates === null && typeof item.missing === "string"; // there are rates, and nobody knows which
  keep(state, "courses", { phase, cycle, base, seq: item.seq, steps: item.steps ?? null, done: 0, series: blank(), rates, unread });
}

function learn(state, course, step, values, seq) {
  course.done = Math.max(course.done, step);
  for (const [name, value] of Object.entries(values)) {
    const y = numberOf(value);
    course.series[name] ??= emptySeries();
    appended(course.series[name], step, y, seq);
    state.latest[name] = { seq, y, x: course.base + step, step, phase: course.phase, cycle: course.cycle };
  }
}

// The arrays that came with an item, those of so many axes.
function arraysOf(state, item, axes) {
  const found = blank();
  if (state.light) return found; // a run that is only compared with others needs no maps
  for (const [name, packed] of Object.entries(item.arrays ?? {})) {
    const array = unpacked(packed);
    if (array?.shape.length === axes && array.values.length) found[name] = array;
  }
  return found;
}

// How many heads each layer has, by the anatomy; and by what is measured and grown, where that is more.
function widenLayers(state, shape, only = null) {
  if (!isDrawable(Math.max(shape[0], state.layers.length), Math.max(shape[1], ...state.layers)))
    throw new Error("it tells of more heads than a model has");
  while (state.layers.length < shape[0]) state.layers.push(only === null ? shape[1] : 0);
  if (only !== null && state.layers[only] < shape[1]) state.layers[only] = shape[1];
}

function sameTexts(one, other) {
  return Boolean(one && other) && one.length === other.length && one.every((text, place) => text === other[place]);
}

// One more in a list; one that is full gives up every second of its older half, but never its first.
function keep(state, list, item) {
  const held = state[list];
  held.push(item);
  if (held.length <= ROOMS[list]) return;
  const half = held.length >> 1;
  state[list] = held.filter((_, place) => place >= half || place % 2 === 0);
  state.thinned[list] = (state.thinned[list] ?? 0) + held.length - state[list].length;
}
