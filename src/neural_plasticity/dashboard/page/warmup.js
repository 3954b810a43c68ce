// The warm-up and the recoveries: how the loss went down, and whether it came to rest.

import { numberOf, told } from "./format.js";
import { derived, empty, fact, numberFrom, panel, sortable, tile } from "./parts.js";
import { placeNow } from "./place.js";
import { chart } from "./plots.js";
import { ratesPanel } from "./rates.js";
import { settledStep, stagesAround } from "./reading.js";
import { pointsOf, smoothed } from "./series.js";
import { h } from "./tree.js";
import { plainName, plainStage } from "./words.js";

export function warmup(state) {
  const course = state.courses.find((each) => each.phase === "warm-up");
  if (!course)
    return empty(
      state.items ? "This run has no warm-up so far." : "Nothing is recorded yet.",
      "Its losses, their smoothed trend and the step where they settled are drawn here.",
    );
  const settled = settledStep(state);
  return [warmTiles(state, course, settled), lossChart(course, "warm-up loss", settled), otherCharts(course), segmentTable(course)];
}

function warmTiles(state, course, settled) {
  const points = course.series.train_loss ? pointsOf(course.series.train_loss) : [];
  const baseline = state.evaluations.find((each) => each.stage === "baseline");
  const warm = state.evaluations.find((each) => each.stage === "warm");
  const first = points[0];
  const last = points.at(-1);
  return h(
    "dl",
    { class: "tiles", key: "tiles" },
    last &&
      tile("training loss", numberFrom(last.y, last.seq, "values.train_loss"), [
        "nats, from ",
        numberFrom(first.y, first.seq, "values.train_loss"),
      ]),
    tile(
      "steps",
      h(
        "data",
        { class: "n", value: String(course.done), "data-rule": "course", "data-about": course.seq },
        told(course.done, "count"),
      ),
      course.steps ? ["of ", fact(course, "steps", "count"), " planned"] : "",
    ),
    tile(
      "settled",
      h("span", { class: "words" }, settled ? ["at step ", h("span", null, settled.step)] : "not settled"),
      settled ? "where the warm-up ended" : warm || state.over ? "it ran all its steps" : "still going",
    ),
    warm &&
      tile(
        "held-out loss",
        fact(warm, "values.loss_nats"),
        baseline && [
          "change ",
          derived(
            "difference",
            [
              [baseline, "values.loss_nats"],
              [warm, "values.loss_nats"],
            ],
            "nats",
            true,
          ),
        ],
      ),
  );
}

// The loss of one course, its smoothed trend, and what was seen of held-out material meanwhile.
function lossChart(course, title, settled = null, id = "course-loss") {
  if (!course.series.train_loss)
    return panel(title, { id }, empty("No loss is recorded yet.", "It is drawn from the first step on."));
  const points = pointsOf(course.series.train_loss);
  const trend = smoothed(points);
  const glances = course.series.eval_loss ? pointsOf(course.series.eval_loss) : [];
  return chart({
    id,
    title,
    wide: true,
    height: 300,
    drawn: `${course.seq} ${points.at(-1)?.seq} ${glances.length}`,
    say: `From ${told(points[0].y)} to ${told(points.at(-1).y)} nats in ${told(course.done)} steps${settled ? `, settled at step ${settled.step}` : ""}.`,
    table: () => [
      ["step", "training loss", "smoothed", "held-out loss"],
      [
        ...points.map((point, place) => [point.x, point.y, trend[place]?.y ?? null, null]),
        ...glances.map((point) => [point.x, null, null, point.y]),
      ],
    ],
    cells: () => [
      ...points.map((point, place) => [
        told(point.x),
        numberFrom(point.y, point.seq, "values.train_loss"),
        trend[place] ? told(trend[place].y) : "–",
        "–",
      ]),
      ...glances.map((point) => [told(point.x), "–", "–", numberFrom(point.y, point.seq, "values.eval_loss")]),
    ],
    plot: (ink) => ({
      traces: [
        {
          type: "scatter",
          mode: points.length < 60 ? "lines+markers" : "lines",
          name: "training loss",
          x: points.map((each) => each.x),
          y: points.map((each) => each.y),
          line: { color: ink.muted, width: 1 },
          marker: { size: 4 },
        },
        {
          type: "scatter",
          mode: "lines",
          name: "smoothed trend",
          x: trend.map((each) => each.x),
          y: trend.map((each) => each.y),
          line: { color: ink.lines[0], width: 2.5 },
        },
        ...(glances.length
          ? [
              {
                type: "scatter",
                mode: "markers+lines",
                name: "held-out loss",
                x: glances.map((each) => each.x),
                y: glances.map((each) => each.y),
                line: { color: ink.lines[1], dash: "dot" },
                marker: { size: 8, symbol: "diamond", color: ink.lines[1] },
              },
            ]
          : []),
      ],
      layout: {
        xaxis: { title: { text: "step" } },
        yaxis: { title: { text: "nats a token" } },
        shapes: settled
          ? [
              {
                type: "line",
                x0: settled.step,
                x1: settled.step,
                yref: "paper",
                y0: 0,
                y1: 1,
                line: { color: ink.lines[2], width: 2, dash: "dash" },
              },
            ]
          : [],
        annotations: settled
          ? [
              {
                x: settled.step,
                yref: "paper",
                y: 1,
                text: "settled",
                showarrow: false,
                xanchor: "right",
                xshift: -4,
                font: { color: ink.lines[2] },
              },
            ]
          : [],
      },
    }),
  });
}

// Every other number that the course told, each in a small chart of its own.
function otherCharts(course) {
  return Object.keys(course.series)
    .filter((name) => !["train_loss", "eval_loss"].includes(name))
    .map((name) => {
      const points = pointsOf(course.series[name]);
      return chart({
        id: `course-${name}`,
        title: plainName(name),
        height: 180,
        drawn: `${course.seq} ${points.at(-1)?.seq}`,
        say: `Now ${told(points.at(-1).y)}.`,
        table: () => [["step", plainName(name)], points.map((point) => [point.x, point.y])],
        cells: () => points.map((point) => [told(point.x), numberFrom(point.y, point.seq, `values.${name}`)]),
        plot: (ink) => ({
          traces: [
            {
              type: "scatter",
              mode: "lines",
              name: plainName(name),
              x: points.map((each) => each.x),
              y: points.map((each) => each.y),
              line: { color: ink.lines[3], width: 1.5 },
            },
          ],
          layout: { xaxis: { title: { text: "step" } }, yaxis: { exponentformat: "e" }, showlegend: false },
        }),
      });
    });
}

function segmentTable(course) {
  const points = (course.series.train_loss ? pointsOf(course.series.train_loss) : []).filter((point) => Number.isFinite(point.y));
  if (points.length < 10) return null;
  const size = Math.ceil(points.length / 5);
  const segments = Array.from({ length: 5 }, (_, place) => points.slice(place * size, (place + 1) * size)).filter(
    (part) => part.length > 1,
  );
  const mean = (part) => part.reduce((sum, point) => sum + point.y, 0) / part.length;
  const slope = (part) => {
    const middle = part.reduce((sum, point) => sum + point.x, 0) / part.length;
    return (
      part.reduce((sum, point) => sum + (point.x - middle) * point.y, 0) /
      part.reduce((sum, point) => sum + (point.x - middle) ** 2, 0)
    );
  };
  const columns = [
    { name: "steps", label: "steps", sorts: false, value: (part) => part[0].x, cell: (part) => `${part[0].x} to ${part.at(-1).x}` },
    { name: "mean", label: "mean loss", sorts: false, numeric: true, value: mean, cell: (part) => told(mean(part)) },
    { name: "slope", label: "change a step", sorts: false, numeric: true, value: slope, cell: (part) => told(slope(part)) },
  ];
  return panel(
    "Fifth by fifth",
    { id: "segments", note: "worked out by this page from the losses it holds" },
    sortable("the warm-up in five parts", columns, segments),
  );
}

export function recovery(state, cycle) {
  const courses = state.courses.filter((each) => each.phase !== "warm-up");
  if (!courses.length)
    return empty(
      "Nothing has been recovered yet.",
      "After each cut the model learns on; its losses and how much of the damage came back stand here.",
    );
  const course = courses.findLast((each) => (each.cycle ?? 0) <= Math.max(1, cycle)) ?? courses[0];
  const title = course.cycle === null ? course.phase : `${course.phase}, cycle ${course.cycle}`;
  return [
    recoveryTiles(state, course),
    lossChart(course, title),
    recoveryChart(state),
    otherCharts(course),
    ratesPanel(state, course, course.cycle ?? 0),
    recoveryTable(state),
  ];
}

function recoveryTiles(state, course) {
  const { baseline, start, pruned, tuned } = stagesAround(state, course.cycle);
  return h(
    "dl",
    { class: "tiles", key: "tiles" },
    start && tile("before the cut", fact(start, "values.perplexity"), plainStage(start.name)),
    pruned &&
      tile(
        "after the cut",
        fact(pruned, "values.perplexity"),
        start && [
          "change ",
          derived(
            "difference",
            [
              [start, "values.perplexity"],
              [pruned, "values.perplexity"],
            ],
            "",
            true,
          ),
        ],
      ),
    tuned &&
      tile(
        "after the recovery",
        fact(tuned, "values.perplexity"),
        pruned && [
          "change ",
          derived(
            "difference",
            [
              [pruned, "values.perplexity"],
              [tuned, "values.perplexity"],
            ],
            "",
            true,
          ),
        ],
      ),
    recoveredTile(baseline, pruned, tuned),
  );
}

function recoveredTile(baseline, pruned, tuned) {
  if (!baseline || !pruned || !tuned || pruned === tuned) return null;
  const harmed = numberOf(pruned.values.perplexity) > numberOf(baseline.values.perplexity);
  const sources = [
    [baseline, "values.perplexity"],
    [pruned, "values.perplexity"],
    [tuned, "values.perplexity"],
  ];
  if (harmed) return tile("recovered", recoveredShare(sources), "of what pruning has cost so far");
  return tile(
    "better than baseline",
    derived(
      "reduction",
      [
        [baseline, "values.perplexity"],
        [tuned, "values.perplexity"],
      ],
      "share",
    ),
    "pruning did no harm",
  );
}

function recoveredShare([baseline, pruned, tuned]) {
  // (pruned − tuned) / (pruned − baseline)
  return derived("recovery", [baseline, pruned, tuned], "share");
}

function recoveryChart(state) {
  const points = state.evaluations.filter((each) => "perplexity" in each.values);
  return chart({
    id: "stages",
    title: "Perplexity, stage by stage",
    drawn: points.length,
    say: `From ${told(numberOf(points[0]?.values.perplexity))} to ${told(numberOf(points.at(-1)?.values.perplexity))}.`,
    table: () => [["stage", "perplexity"], points.map((each) => [each.name, numberOf(each.values.perplexity)])],
    cells: () => points.map((each) => [each.name, fact(each, "values.perplexity")]),
    plot: (ink) => ({
      traces: [
        {
          type: "bar",
          x: points.map((each) => plainName(each.name)),
          y: points.map((each) => numberOf(each.values.perplexity)),
          marker: {
            color: points.map((each) =>
              each.stage === "pruned" ? ink.lines[1] : each.stage === "fine_tuned" ? ink.lines[0] : ink.muted,
            ),
          },
        },
      ],
      layout: { showlegend: false, xaxis: { type: "category" }, yaxis: { title: { text: "perplexity" }, rangemode: "tozero" } },
    }),
  });
}

function recoveryTable(state) {
  const cycles = [...new Set(state.evaluations.filter((each) => each.cycle !== null).map((each) => each.cycle))];
  const rows = cycles.map((cycle) => ({ cycle, ...stagesAround(state, cycle) }));
  const column = (name, label, pick) => ({
    name,
    label,
    numeric: true,
    value: (row) => numberOf(pick(row)?.values.perplexity),
    cell: (row) => fact(pick(row), "values.perplexity"),
  });
  const columns = [
    { name: "cycle", label: "cycle", numeric: true, value: (row) => row.cycle, cell: (row) => row.cycle },
    column("start", "before", (row) => row.start),
    column("pruned", "pruned", (row) => row.pruned),
    column("tuned", "recovered", (row) => row.tuned),
  ];
  return rows.length
    ? panel("Perplexity by cycle", { id: "by-cycle" }, sortable("perplexity by cycle", columns, rows, { sort: placeNow().sort }))
    : null;
}
