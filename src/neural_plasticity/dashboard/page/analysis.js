// The analysis: a head map for each signal, one of them large, all scrubbed over cycles together.

import { harmless } from "./format.js";
import { fieldOf, headMap, mapRows, saveMap, scaleBar, statesSeen, thumbnail } from "./grid.js";
import { button, csvButton, empty, fact, headLink, numberFrom, panel, sortable, stateLegend } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { themeNow } from "./plots.js";
import { gridOf, headsOf, lifeAt, rangeOf, signalsOf, valueIn } from "./reading.js";
import { h } from "./tree.js";
import { plainName, saysOf, unitOf } from "./words.js";

export function analysis(state, cycle) {
  const signals = signalsOf(state);
  if (!signals.length)
    return empty(
      state.items ? "No head has been measured yet." : "Nothing is recorded yet.",
      "A map for each signal appears here when the analysis of a cycle is done.",
    );
  const signal = signals.includes(placeNow().signal) ? placeNow().signal : usualSignal(state, signals);
  return [signalChoice(state, cycle, signals, signal), largeMap(state, cycle, signal), valueTable(state, cycle, signal, signals)];
}

// The signal that decisions are made by, where there are any.
function usualSignal(state, signals) {
  const strategy = state.decisions[0]?.strategy ?? state.described.settings?.strategy;
  return signals.includes(strategy) ? strategy : signals[0];
}

function signalChoice(state, cycle, signals, signal) {
  const place = signals.indexOf(signal);
  const moved = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (place + step + signals.length) % signals.length;
    event.target.closest("[role=radiogroup]").children[next].focus();
    goTo({ signal: signals[next] }, { small: true });
  };
  return panel(
    "Signals",
    { id: "signals", wide: true },
    h(
      "div",
      { class: "signals", role: "radiogroup", "aria-label": "signal", on: { keydown: moved } },
      signals.map((name) => {
        const measured = gridOf(state, cycle, name);
        const range = rangeOf(state, name);
        return h(
          "button",
          {
            key: name,
            type: "button",
            class: "signal",
            role: "radio",
            "aria-checked": String(name === signal),
            tabindex: name === signal ? "0" : "-1",
            title: saysOf(name),
            on: { click: () => goTo({ signal: name }, { small: true }) },
          },
          thumbnail({
            state,
            cycle,
            measured,
            signal: name,
            range,
            pixel: thumbPixel(state),
            drawn: `${cycle} ${measured?.seq} ${range} ${state.operations.length} ${themeNow()}`,
          }),
          h("span", null, plainName(name)),
        );
      }),
    ),
  );
}

function thumbPixel(state) {
  return Math.max(4, Math.min(14, Math.floor(150 / Math.max(1, ...state.layers))));
}

function largeMap(state, cycle, signal) {
  const measured = gridOf(state, cycle, signal);
  const range = rangeOf(state, signal);
  const about = { state, cycle, measured, signal, range };
  const tools = [
    button("PNG", () => saveMap(`${plainName(signal)} cycle ${cycle}`, about), {
      class: "quiet",
      "aria-label": `download the map of ${plainName(signal)} as PNG`,
    }),
    csvButton(`heads cycle ${cycle}`, () => mapRows(state, cycle, measured, signalsOf(state))),
  ];
  const note = [saysOf(signal), measured ? measuredWhen(measured) : notMeasured(state, cycle)].filter(Boolean).join(" · ");
  return panel(
    `Map: ${plainName(signal)}`,
    { id: "map", wide: true, tools, note },
    headMap({ id: "analysis", label: `${plainName(signal)} of every head`, ...about, unit: unitOf(signal) }),
    scaleBar(range, signal, unitOf(signal)),
    stateLegend(statesSeen(state)),
  );
}

function measuredWhen({ step, path }) {
  return ["measured", step !== null && `at step ${step}`, path && `by ${harmless(path, 80)}`].filter(Boolean).join(" ");
}

function notMeasured(state, cycle) {
  return cycle === 0 ? "cycle 1 is the first with a measurement: move the slider" : `not measured in cycle ${cycle}`;
}

function valueTable(state, cycle, signal, signals) {
  const { filter, sort } = placeNow();
  const measured = gridOf(state, cycle, signal);
  if (!measured) return null;
  const rows = headsOf(state)
    .map((head) => ({ head, state: lifeAt(state, head, cycle).state }))
    .filter((row) => !filter || row.head.join(".").startsWith(filter) || row.state.includes(filter.toLowerCase()));
  const shown = signals.filter((name) => gridOf(state, cycle, name));
  const columns = [
    { name: "head", label: "head", value: (row) => row.head[0] * 1e4 + row.head[1], cell: (row) => headLink(row.head, row.state) },
    { name: "state", label: "state", value: (row) => row.state, cell: (row) => row.state },
    ...shown.map((name) => {
      const grid = gridOf(state, cycle, name);
      const value = (row) => valueIn(grid, name, row.head);
      return {
        name,
        label: plainName(name),
        numeric: true,
        value,
        cell: (row) =>
          Number.isNaN(value(row))
            ? h("span", { class: "none" }, "–")
            : numberFrom(value(row), grid.seq, fieldOf(name, ...row.head)),
      };
    }),
  ];
  const tools = [
    filterBox("layer, head or state"),
    csvButton(`signals cycle ${cycle}`, () => mapRows(state, cycle, measured, signals)),
  ];
  return panel(
    "All numbers",
    { id: "numbers", wide: true, tools },
    sortable(`signals of every head in cycle ${cycle}`, columns, rows, {
      sort,
      rowKey: (row) => row.head.join("."),
      chosen: (row) => row.head.join(".") === placeNow().head,
    }),
    measured.path && h("p", { class: "note" }, "step ", measured.step === null ? "–" : fact(measured, "step", "count")),
  );
}

export function filterBox(what) {
  return h("input", {
    type: "search",
    class: "filter",
    placeholder: `filter: ${what}`,
    "aria-label": `filter by ${what}`,
    value: placeNow().filter,
    maxlength: "200",
    on: { input: (event) => goTo({ filter: event.target.value }, { small: true }) },
  });
}
