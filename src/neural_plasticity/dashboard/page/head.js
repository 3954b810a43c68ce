// The life of one head: what it was in every cycle, why it was pruned or came back, every signal over time, its attention.

import { at } from "./arrays.js";
import { attentionMap } from "./attention.js";
import { told } from "./format.js";
import { fieldOf } from "./grid.js";
import { button, csvButton, empty, fact, marker, numberFrom } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { chart } from "./plots.js";
import { ratesOfHead } from "./rates.js";
import { attentionOf, lastCycle, lifeAt, signalsOf } from "./reading.js";
import { h } from "./tree.js";
import { plainName, plainStage, unitOf } from "./words.js";

export function headLife(state, cycle) {
  const key = placeNow().head;
  const head = key.split(".").map(Number);
  const life = lifeAt(state, head, cycle);
  return h(
    "aside",
    { class: "life", key: "life", "aria-label": `life of head ${key}`, id: "life" },
    h(
      "header",
      null,
      h("h2", { id: "h-life", tabindex: "-1" }, marker(life.state, false), ` Head ${key}`),
      h("span", { class: "now-state" }, `${life.state}${lastCycle(state) ? ` in cycle ${cycle}` : ""}`),
      button("close", close, { class: "quiet", "aria-label": "close the life of this head" }),
    ),
    lifeLine(state, head, cycle),
    reasons(state, head),
    ratesOfHead(state, head),
    signalTable(state, head, cycle),
    signalCharts(state, head, key),
    attentions(state, head, key, cycle),
  );
}

export function close() {
  const key = placeNow().head;
  goTo({ head: "" });
  requestAnimationFrame(() => document.querySelector(`[data-head="${CSS.escape(key)}"]`)?.focus());
}

function lifeLine(state, head, cycle) {
  const last = lastCycle(state);
  if (!last) return null;
  const turns = Array.from({ length: last + 1 }, (_, each) => ({ cycle: each, state: lifeAt(state, head, each).state }));
  return h(
    "section",
    { key: "line" },
    h("h3", null, "Life line"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "life line" },
      h(
        "ol",
        { class: "life-line" },
        turns.map((turn) =>
          h(
            "li",
            { key: turn.cycle, class: `is-${turn.state}`, "aria-current": turn.cycle === cycle ? "true" : null },
            button(
              [marker(turn.state, false), h("small", null, turn.cycle ? turn.cycle : "start")],
              () => goTo({ cycle: String(turn.cycle) }, { small: true }),
              { "aria-label": `${turn.cycle ? `cycle ${turn.cycle}` : "start"}: ${turn.state}` },
            ),
          ),
        ),
      ),
    ),
  );
}

function reasons(state, head) {
  const found = state.decisions.filter((each) => each.head[0] === head[0] && each.head[1] === head[1]);
  return h(
    "section",
    { key: "reasons" },
    h("h3", null, "Why"),
    found.length
      ? h(
          "ul",
          { class: "reasons" },
          found.map((each) =>
            h(
              "li",
              { key: each.seq },
              h(
                "p",
                null,
                h("b", null, each.cycle ? `Cycle ${each.cycle}: ${each.action}` : each.action),
                " · ",
                h("bdi", null, each.reason),
              ),
              h(
                "dl",
                { class: "facts" },
                [
                  ["score", "score"],
                  ["rank", "rank"],
                  ["threshold", "threshold"],
                ].map(([name, label]) => h("div", { key: name }, h("dt", null, label), h("dd", null, fact(each, name)))),
              ),
            ),
          ),
        )
      : h(
          "p",
          { class: "note" },
          state.decisions.length ? "No decision was ever about this head: it was kept each time." : "No decision has been made.",
        ),
  );
}

function historyOf(state, head, signal) {
  return state.grids
    .filter((each) => each.grids[signal])
    .map((each) => ({ x: each.cycle, seq: each.seq, y: at(each.grids[signal], ...head) }))
    .filter((point) => !Number.isNaN(point.y));
}

function signalTable(state, head, cycle) {
  const signals = signalsOf(state)
    .map((signal) => [signal, historyOf(state, head, signal)])
    .filter(([, points]) => points.length);
  if (!signals.length) return empty("No signal of this head is recorded.", "Its signals stand here after the first analysis.");
  const cycles = [...new Set(signals.flatMap(([, points]) => points.map((point) => point.x)))].sort((one, other) => one - other);
  const few = cycles.length > 8 ? cycles.slice(-8) : cycles;
  const rows = () => [
    ["signal", ...cycles.map((each) => `cycle ${each}`)],
    signals.map(([signal, points]) => [signal, ...cycles.map((each) => points.findLast((point) => point.x === each)?.y ?? NaN)]),
  ];
  return h(
    "section",
    { key: "signals" },
    h("header", { class: "panel-head" }, h("h3", null, "Signals"), csvButton(`head ${head.join(".")}`, rows)),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "signals of this head" },
      h(
        "table",
        null,
        h("caption", { class: "hidden" }, "signals of this head by cycle"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("th", { scope: "col" }, "signal"),
            few.map((each) =>
              h("th", { key: each, scope: "col", class: `num${each === cycle ? " now" : ""}` }, each ? `cycle ${each}` : "value"),
            ),
          ),
        ),
        h(
          "tbody",
          null,
          signals.map(([signal, points]) =>
            h(
              "tr",
              { key: signal },
              h("th", { scope: "row" }, plainName(signal), unitOf(signal) && h("small", null, ` ${unitOf(signal)}`)),
              few.map((each) => {
                const point = points.findLast((one) => one.x === each);
                return h(
                  "td",
                  { key: each, class: "num" },
                  point ? numberFrom(point.y, point.seq, fieldOf(signal, ...head)) : h("span", { class: "none" }, "–"),
                );
              }),
            ),
          ),
        ),
      ),
    ),
  );
}

function signalCharts(state, head, key) {
  const signals = signalsOf(state)
    .map((signal) => [signal, historyOf(state, head, signal)])
    .filter(([, points]) => points.length > 1);
  if (!signals.length) return null;
  return h(
    "section",
    { key: "charts" },
    h("h3", null, "Signals over time"),
    h(
      "div",
      { class: "small-charts" },
      signals.map(([signal, points]) =>
        chart({
          id: `life-${signal}`,
          title: plainName(signal),
          level: 4,
          height: 130,
          drawn: `${key} ${points.at(-1).seq}`,
          say: points.map((point) => `cycle ${point.x}: ${told(point.y)}`).join(", "),
          table: () => [["cycle", signal], points.map((point) => [point.x, point.y])],
          cells: () => points.map((point) => [told(point.x), numberFrom(point.y, point.seq, fieldOf(signal, ...head))]),
          plot: (ink) => ({
            traces: [
              {
                type: "scatter",
                mode: points.length > 40 ? "lines" : "lines+markers",
                name: plainName(signal),
                x: points.map((point) => point.x),
                y: points.map((point) => point.y),
                line: { color: ink.lines[0] },
              },
            ],
            layout: { showlegend: false, xaxis: { dtick: points.length > 12 ? undefined : 1 }, yaxis: { nticks: 4 } },
          }),
        }),
      ),
    ),
  );
}

function attentions(state, head, key, cycle) {
  const records = attentionOf(state, head);
  if (!records.length)
    return h(
      "section",
      { key: "attention" },
      h("h3", null, "Attention"),
      h(
        "p",
        { class: "note" },
        state.attention.length
          ? "This head is not one of those whose attention is recorded; the evaluation names them."
          : "No attention is recorded yet.",
      ),
    );
  const shown = records.findLast((each) => (each.cycle ?? 0) <= cycle) ?? records[0];
  return h(
    "section",
    { key: "attention" },
    h("h3", null, "Attention"),
    h(
      "p",
      { class: "note" },
      `${records.length} times recorded: ${records.map((each) => plainStage(each.name)).join(", ")}; the slider chooses`,
    ),
    attentionMap({ record: shown, head: key, id: "life", caption: plainStage(shown.name), level: 4 }),
  );
}
