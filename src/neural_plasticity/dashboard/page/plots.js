// Charts by plotly.js, which is loaded when the first one comes into view; each with its table, its PNG and its CSV.

import { inflated } from "./arrays.js";
import { inkOf } from "./colour.js";
import { csvOf, harmless, told } from "./format.js";
import { button, plainTable, saved } from "./parts.js";
import { h } from "./tree.js";

const unfolded = new Set(); // tables that a reader opened, by the name of their chart
const PAUSE = 4000; // milliseconds until a library that did not come is asked for again, twice as many each time
const LONGEST_WAIT = 60000;
const unserved = new Set(); // elements whose charts wait for the library
let library = null;
let refusals = 0;
let watcher = null;

// A chart. `plot` is (ink) -> {traces, layout}; `table` is () -> [columns, rows] of raw values; `drawn` changes when either does.
export function chart({ id, title, say, plot, table, drawn, height = 260, level = 2, note = "", wide = false, cells = null }) {
  const key = `${id} ${drawn}`;
  return h(
    "figure",
    { class: `panel chart${wide ? " wide" : ""}`, key: id, id: `c-${id}`, "aria-labelledby": `h-${id}` },
    h(
      "header",
      { class: "panel-head" },
      h(`h${level}`, { id: `h-${id}` }, title),
      h("div", { class: "tools" }, chartTools(id, title, table)),
    ),
    note && h("p", { class: "note" }, note),
    h("div", {
      class: "plot",
      role: "img",
      "aria-label": `${title}. ${say}`,
      style: { "--height": `${height}px` },
      drawn: `${key} ${themeNow()}`,
      draw: (element) => wanted(element, plot),
      gone: forgotten,
    }),
    h(
      "details",
      { class: "behind", on: { toggle: (event) => toggled(id, event.target.open) } },
      h("summary", null, "table"),
      unfolded.has(id) && plainTable(title, table()[0], (cells ?? (() => table()[1].map((row) => row.map(plainCell))))()),
    ),
  );
}

let redraw = () => {};

export function onChartChange(told) {
  redraw = told;
}

export function themeNow() {
  return document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function toggled(id, isOpen) {
  if (isOpen === unfolded.has(id)) return;
  if (isOpen) unfolded.add(id);
  else unfolded.delete(id);
  redraw();
}

function plainCell(value) {
  return typeof value === "number" ? told(value) : (value ?? "–");
}

function chartTools(id, title, table) {
  return [
    button("PNG", () => picture(id), { class: "quiet", "aria-label": `download ${title} as PNG` }),
    button(
      "CSV",
      () => {
        const [columns, rows] = table();
        saved(`${id}.csv`, csvOf(columns, rows), "text/csv");
      },
      { class: "quiet", "aria-label": `download ${title} as CSV` },
    ),
  ];
}

async function picture(id) {
  const element = document.querySelector(`#c-${CSS.escape(id)} .plot`);
  element.itsSeen = true;
  while (element.itsWork) await element.itsWork; // which may have begun with what was there before
  await drawing(element);
  if (element.dataset.fault) return; // as the chart says itself
  const plotly = await loaded();
  const address = await plotly.toImage(element.firstElementChild, { format: "png", width: 1200, height: 640, scale: 2 });
  saved(`${id}.png`, await imageBlob(address), "image/png");
}

// The bytes of a data: address, without a request.
function imageBlob(address) {
  const raw = atob(address.slice(address.indexOf(",") + 1));
  return new Blob([Uint8Array.from(raw, (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

function wanted(element, plot) {
  element.itsPlot = plot;
  if (element.itsSeen) return drawing(element);
  watcher ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        target.itsSeen = true;
        drawing(target);
      }
    },
    { rootMargin: "200px" },
  );
  watcher.observe(element);
}

function forgotten(element) {
  watcher?.unobserve(element);
  element.itsPlot = null;
  unserved.delete(element);
  element.itsSizes?.disconnect();
  if (element.firstElementChild?.classList.contains("js-plotly-plot")) window.Plotly?.purge(element.firstElementChild);
}

// One drawing at a time, and never more than an eighth of the time spent on it: what comes meanwhile is drawn together.
function drawing(element) {
  if (element.itsWork) {
    element.itsNext = true;
    return element.itsWork;
  }
  element.itsWork = drawOnce(element)
    .catch((fault) => {
      element.dataset.fault = String(fault);
      element.textContent = "This chart cannot be drawn here; its table can be read below.";
    })
    .finally(() => {
      element.itsWork = null;
      if (!element.itsNext) return;
      element.itsNext = false;
      setTimeout(() => element.itsPlot && drawing(element), Math.max(150, 8 * (element.itsCost ?? 0)));
    });
  return element.itsWork;
}

async function drawOnce(element) {
  unserved.add(element);
  const plotly = await loaded();
  unserved.delete(element);
  await new Promise((done) => setTimeout(done)); // between two charts the page answers
  if (!element.itsPlot || !element.isConnected) return;
  const began = performance.now();
  const ink = inkNow();
  const { traces, layout } = element.itsPlot(ink);
  if (element.dataset.fault) {
    delete element.dataset.fault;
    element.textContent = "";
  }
  if (!element.firstElementChild) element.append(document.createElement("div"));
  const options = { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" };
  await plotly.react(
    element.firstElementChild,
    traces.map((trace) => styledTrace(trace)),
    laidOut(layout, ink, element),
    options,
  );
  element.itsCost = performance.now() - began;
  if (!element.itsSizes) {
    element.itsSizes = new ResizeObserver(() => element.itsWidth !== element.clientWidth && element.itsPlot && drawing(element));
    element.itsSizes.observe(element);
  }
  element.itsWidth = element.clientWidth;
}

const WORDED = ["x", "y", "text", "hovertext", "name"];

// Plotly reads some HTML in texts: the letters that make it are taken from all that could come from a record.
function styledTrace(trace) {
  const plain = (value) =>
    typeof value === "string"
      ? harmless(value, 80).replaceAll("&", "＆").replaceAll("<", "‹").replaceAll(">", "›").replaceAll("$", "＄")
      : value;
  const worded = WORDED.filter((name) => name in trace).map((name) => [
    name,
    Array.isArray(trace[name]) ? trace[name].map(plain) : plain(trace[name]),
  ]);
  return { hoverlabel: { namelength: 40 }, ...trace, ...Object.fromEntries(worded) };
}

function laidOut(layout, ink, element) {
  const axis = { gridcolor: ink.grid, zerolinecolor: ink.grid, linecolor: ink.line, tickcolor: ink.line, automargin: true };
  const few = { nticks: element.clientWidth < 420 ? 5 : 9 };
  const { xaxis, yaxis, yaxis2, ...rest } = layout;
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    paper_bgcolor: ink.ground,
    plot_bgcolor: ink.ground,
    font: { family: ink.font, size: ink.size, color: ink.ink },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    hovermode: "x unified",
    dragmode: false,
    hoverlabel: { bgcolor: ink.ground, bordercolor: ink.line, font: { color: ink.ink } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 0.92 * ink.size } },
    xaxis: { ...axis, ...(xaxis?.type === "category" ? {} : few), showgrid: false, ...xaxis },
    yaxis: { ...axis, ...(yaxis?.type === "category" ? { dtick: 1 } : few), ...yaxis },
    ...(yaxis2 ? { yaxis2: { ...axis, ...few, tickmode: "auto", ...yaxis2 } } : {}),
    ...rest,
  };
}

// Inks and grounds as the styles of the page have them now.
function inkNow() {
  const lines = Array.from({ length: 8 }, (_, place) => inkOf(`--line-${place + 1}`));
  const { fontFamily, fontSize } = getComputedStyle(document.documentElement);
  return {
    ground: inkOf("--panel"),
    ink: inkOf("--ink"),
    muted: inkOf("--muted"),
    grid: inkOf("--rule"),
    line: inkOf("--edge"),
    font: fontFamily,
    size: 0.86 * parseFloat(fontSize),
    lines,
  };
}

// A library that did not come is asked for again after a while, by all charts that wait for it together.
function loaded() {
  library ??= loadPlotly().catch((fault) => {
    setTimeout(askedAgain, Math.min(LONGEST_WAIT, PAUSE * 2 ** refusals));
    refusals += 1;
    throw fault;
  });
  return library;
}

function askedAgain() {
  library = null;
  for (const element of unserved) if (element.itsPlot && element.isConnected) drawing(element);
}

// Offline the library lies packed in the page itself and runs as a script that the page's policy names by its hash.
async function loadPlotly() {
  await leisure(); // the page can be used before its first chart is there
  const packed = document.getElementById("plotly");
  if (packed) await runInside(await inflated(packed.textContent), packed.dataset.proof);
  else await fetchedScript({ src: "plotly.js" });
  if (!window.Plotly) throw new Error("The browser did not run plotly.js: it was changed on its way, or a policy forbids it.");
  return window.Plotly;
}

// A moment in which the browser has nothing else to do; Safari does not tell of any.
function leisure() {
  return new Promise((done) => {
    if (window.requestIdleCallback) requestIdleCallback(done, { timeout: 500 });
    else setTimeout(done, 50);
  });
}

// A script with an address is compiled beside the page, which can be used meanwhile. A browser whose policies know hashes
// only for scripts without an address refuses that one, and gets it as such.
async function runInside(source, proof) {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    await fetchedScript({ src: address, integrity: proof, crossOrigin: "anonymous" });
  } catch {
    document.head.append(Object.assign(document.createElement("script"), { textContent: source }));
  } finally {
    URL.revokeObjectURL(address);
  }
}

function fetchedScript(wanted) {
  const script = Object.assign(document.createElement("script"), wanted);
  return new Promise((done, failed) => {
    script.onload = done;
    script.onerror = () => failed(new Error("plotly.js was not sent"));
    document.head.append(script);
  });
}
