// The overview: where the run is, what it cost, what it won.

import { dateOf, harmless, lasting, numberOf, timeOf, told } from "./format.js";
import { headMap, statesSeen } from "./grid.js";
import { counted, derived, empty, fact, panel, stateLegend, tile } from "./parts.js";
import { chart } from "./plots.js";
import { addressOf } from "./place.js";
import { awakeAt, headsOf, isDoubtful, lastCycle, speedKind, speedOf, weighedAt } from "./reading.js";
import { pointsOf, smoothed } from "./series.js";
import { h } from "./tree.js";
import { KIND_WORDS, kindOfPhase, plainName, unitOfSize, wordOfStanding } from "./words.js";

const STOPPED = [
  "its process is gone, and the record has no last line. ",
  h("code", null, "plasticity resume"),
  " goes on with it from its last checkpoint.",
];

export function overview(state, cycle, stands) {
  if (!state.items)
    return [
      empty("Nothing is recorded yet.", "Phases, losses and heads appear here as soon as the run begins."),
      state.described.corrupt ? tellings(state, stands) : null,
    ];
  return [
    tiles(state),
    timeline(state),
    learningCurve(state),
    stateNow(state),
    tellings(state, stands),
    ending(state),
    settingsOf(state),
  ];
}

function tiles(state) {
  const last = state.evaluations.at(-1);
  const first = state.evaluations.find((each) => each.stage === "baseline");
  const heads = headsOf(state).length;
  const awake = awakeAt(state, Infinity);
  return h(
    "dl",
    { class: "tiles", key: "tiles" },
    last &&
      "perplexity" in last.values &&
      tile(
        "perplexity",
        fact(last, "values.perplexity"),
        first && first !== last ? ["from ", fact(first, "values.perplexity")] : last.name,
      ),
    last && !("perplexity" in last.values) && tile("held-out loss", fact(last, "values.loss_nats"), last.name),
    differenceTile(state),
    heads > 0 &&
      tile("heads awake", counted(awake, "awake"), [
        "of ",
        counted(heads, "heads"),
        " · ",
        counted(heads ? 1 - awake / heads : 0, "sparsity", "share"),
        " pruned",
      ]),
    sizeTile(state),
    ...speedTiles(state),
    tile("training steps", counted(stepsDone(state), "steps"), nowWords(state)),
  );
}

function differenceTile(state) {
  const found = state.comparisons.find((each) => each.before === "baseline" && "mean_difference" in each.values);
  if (!found) return null;
  return tile("loss against baseline", fact(found, "values.mean_difference", "", true), [
    "nats, 95 %: ",
    fact(found, "values.low", "", true),
    " to ",
    fact(found, "values.high", "", true),
  ]);
}

function sizeTile(state) {
  const first = state.operations.find((each) => "parameters" in each.before);
  const last = weighedAt(state, Infinity);
  if (!first || !last) return null;
  const gone = derived(
    "reduction",
    [
      [first, "before.parameters"],
      [last, "after.parameters"],
    ],
    "share",
  );
  return tile("parameters", fact(last, "after.parameters", "count"), [
    "from ",
    fact(first, "before.parameters", "count"),
    " · ",
    gone,
    " gone",
  ]);
}

// Speed is what was measured after weights had left the model; a mask only hides heads, and the page says so.
function speedTiles(state) {
  const kind = speedKind(state);
  if (kind === "masked")
    return [tile("speed", h("span", { class: "words" }, "no speed-up"), "heads are masked; no weight has left the model")];
  const found = speedOf(state);
  if (!found)
    return [
      tile(
        "speed",
        h("span", { class: "words" }, kind === "nothing" ? "as before" : "not measured"),
        state.over ? "no measurement in the record" : "measured at the end, after removal",
      ),
    ];
  const bounds = (name) => [
    fact(found, `values.${name}_low`),
    " to ",
    fact(found, `values.${name}_high`),
    isDoubtful(found.values, name) ? "; perhaps no faster" : "",
  ];
  const reading = tile("reading, measured", fact(found, "values.prefill_ratio", "ratio"), bounds("prefill"));
  return "decode_ratio" in found.values
    ? [reading, tile("writing, measured", fact(found, "values.decode_ratio", "ratio"), bounds("decode"))]
    : [reading];
}

function stepsDone(state) {
  const last = state.courses.at(-1);
  return last ? last.base + last.done : 0;
}

function nowWords(state) {
  if (state.over === "finished") return "the run is over";
  return state.over ? wordOfStanding(state.over) : (state.phase?.phase ?? "");
}

function timeline(state) {
  const phases = state.phases.filter((each) => (each.ended ?? state.time) >= each.began);
  const spent = (each) => (each.ended ?? state.time) - each.began;
  const took = phases.reduce((sum, each) => sum + spent(each), 0) || 1;
  const name = (each) => `${each.phase}${each.cycle === null ? "" : `, cycle ${each.cycle}`}`;
  return panel(
    "Phases",
    {
      id: "phases",
      wide: true,
      note: state.began ? `began ${dateOf(state.began)} UTC · ${lasting(state.time - state.began - state.idle)} so far` : "",
    },
    phases.length
      ? h(
          "ol",
          { class: "timeline", "aria-label": "phases by the time they took" },
          phases.map((each) =>
            h(
              "li",
              {
                key: each.seq,
                class: `kind-${kindOfPhase(each.phase)}${each === state.phase && !state.over ? " now" : ""}`,
                style: { "--share": String(Math.max(0.0005, spent(each) / took)) },
                title: `${name(each)}: ${lasting(spent(each))}`,
              },
              h(
                "span",
                null,
                spent(each) / took > 0.06 ? name(each) : h("span", { class: "hidden" }, `${name(each)}: ${lasting(spent(each))}`),
              ),
            ),
          ),
        )
      : empty("No phase has begun.", ""),
    h(
      "ul",
      { class: "legend" },
      Object.entries(KIND_WORDS)
        .filter(([kind]) => phases.some((each) => kindOfPhase(each.phase) === kind))
        .map(([kind, word]) => h("li", { key: kind }, h("i", { class: `swatch kind-${kind}` }), word)),
    ),
  );
}

// All that was learnt, on the steps of the whole run, with the cuts between.
function learningCurve(state) {
  const curves = state.courses.flatMap((course) =>
    course.series.train_loss ? [{ course, points: pointsOf(course.series.train_loss) }] : [],
  );
  const judged = judgedSteps(state);
  if (!curves.length)
    return panel(
      "Losses",
      { id: "losses", wide: true },
      empty("Nothing has been learnt yet.", "The training loss is drawn here from the first step on."),
    );
  const x = curves.flatMap(({ course, points }) => [...points.map((point) => course.base + point.x), null]);
  const y = curves.flatMap(({ points }) => [...points.map((point) => point.y), null]);
  const smooth = curves.flatMap(({ course, points }) => [
    ...smoothed(points).map((point) => ({ x: course.base + point.x, y: point.y })),
    { x: null, y: null },
  ]);
  const cuts = state.courses.slice(1).map((course) => course.base);
  return chart({
    id: "losses",
    title: "Losses",
    wide: true,
    height: 300,
    drawn: `${state.latest.train_loss?.seq} ${judged.length}`,
    say: `Training loss over ${told(stepsDone(state))} steps, held-out loss at ${judged.length} stages.`,
    table: () => [
      ["step", "training loss", "held-out loss", "stage"],
      [
        ...curves.flatMap(({ course, points }) => points.map((point) => [course.base + point.x, point.y, null, null])),
        ...judged.map((each) => [each.x, null, each.y, each.name]),
      ],
    ],
    plot: (ink) => ({
      traces: [
        { type: "scatter", mode: "lines", name: "training loss", x, y, line: { color: ink.muted, width: 1 }, opacity: 0.7 },
        {
          type: "scatter",
          mode: "lines",
          name: "smoothed",
          x: smooth.map((each) => each.x),
          y: smooth.map((each) => each.y),
          line: { color: ink.lines[0], width: 2 },
          hoverinfo: "skip",
        },
        {
          type: "scatter",
          mode: "markers+lines",
          name: "held-out loss",
          x: judged.map((each) => each.x),
          y: judged.map((each) => each.y),
          text: judged.map((each) => each.name),
          line: { color: ink.lines[1], width: 1, dash: "dot" },
          marker: { size: 8, symbol: "diamond", color: ink.lines[1] },
        },
      ],
      layout: {
        xaxis: { title: { text: "step" } },
        yaxis: { title: { text: "nats a token" } },
        shapes: cuts.map((cut) => ({
          type: "line",
          x0: cut,
          x1: cut,
          yref: "paper",
          y0: 0,
          y1: 1,
          line: { color: ink.line, width: 1, dash: "dash" },
        })),
      },
    }),
  });
}

function judgedSteps(state) {
  return state.evaluations.map((each) => {
    const before = state.courses.findLast((course) => course.seq < each.seq);
    return { x: before ? before.base + before.done : 0, y: numberOf(each.values.loss_nats), name: each.name, seq: each.seq };
  });
}

function stateNow(state) {
  if (!state.layers.length) return null;
  const note = h(
    "p",
    { class: "note", key: "more" },
    "A head opens its life. ",
    h("a", { href: addressOf({ view: "analysis" }) }, "What was measured"),
    " · ",
    h("a", { href: addressOf({ view: "pruning" }) }, "why heads went"),
  );
  return panel(
    "Heads now",
    { id: "heads-now" },
    headMap({ id: "now", label: "state of every head now", state, cycle: lastCycle(state) }),
    stateLegend(statesSeen(state)),
    note,
  );
}

function tellings(state, stands) {
  const answers = state.requests.map((each) => ({ ...each, message: `${each.name}: ${each.answer}` }));
  const latest = [...state.notices, ...answers].sort((one, other) => other.seq - one.seq).slice(0, 60);
  const corrupt = state.described.corrupt ? [{ message: harmless(state.described.corrupt, 2000) }] : [];
  const thinned = Object.entries(state.thinned).map(([list, count]) => ({
    message: `This page keeps ${count} older ${list} no longer; the record has them all.`,
  }));
  const told = [...corrupt, ...latest, ...thinned];
  return panel(
    "Notices",
    { id: "notices" },
    state.failed && h("p", { class: "failed", role: "status" }, h("b", null, `${state.failed.error}: `), state.failed.message),
    stands === "stopped" && h("p", { class: "stopped", role: "status" }, h("b", null, "Stopped without a word: "), STOPPED),
    told.length
      ? h(
          "ul",
          { class: "notices", tabindex: "0", "aria-label": "notices" },
          told.map((each) =>
            h(
              "li",
              { key: each.seq ?? each.message },
              each.time && h("time", null, timeOf(each.time)),
              h("bdi", null, each.message),
            ),
          ),
        )
      : !state.failed &&
          stands !== "stopped" &&
          empty("Nothing to report.", "What was left out, cut short or decided stands here, with why."),
  );
}

function ending(state) {
  if (!state.finished) return null;
  const names = Object.keys(state.finished.summary ?? {});
  return panel(
    "How it ended",
    { id: "ending", wide: true },
    h(
      "dl",
      { class: "facts" },
      names.map((name) =>
        h(
          "div",
          { key: name },
          h("dt", null, plainName(name)),
          h("dd", null, fact({ seq: state.finished.seq, summary: state.finished.summary }, `summary.${name}`, summaryUnit(name))),
        ),
      ),
    ),
  );
}

function summaryUnit(name) {
  return /_ratio$/.test(name) ? "ratio" : unitOfSize(name);
}

function settingsOf(state) {
  const settings = Object.entries(state.described.settings ?? {}).filter(
    ([, value]) => value !== null && !(Array.isArray(value) && !value.length),
  );
  if (!settings.length) return null;
  const { environment, anatomy } = state.described;
  const where = [
    ["model class", anatomy?.model],
    ["device", environment?.device],
    ["dtype", environment?.dtype],
    ["python", environment?.python_version],
    ["torch", environment?.pytorch_version],
    ["platform", environment?.platform],
  ];
  return panel(
    "Settings",
    { id: "settings", wide: true },
    h(
      "dl",
      { class: "facts plain" },
      [...settings, ...where]
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) =>
          h(
            "div",
            { key: name },
            h("dt", null, plainName(name)),
            h("dd", null, h("bdi", null, harmless(typeof value === "object" ? JSON.stringify(value) : value, 200))),
          ),
        ),
    ),
  );
}
