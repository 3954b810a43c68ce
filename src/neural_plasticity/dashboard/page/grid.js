// Head maps: layers × heads, as a grid that can be walked with the arrow keys, and as a thumbnail.

import { at } from "./arrays.js";
import { colourAt, cssOf, inkOf, inkOn, MARKS, markOf, SHAPES, shareOf } from "./colour.js";
import { headKey } from "./fold.js";
import { told } from "./format.js";
import { counted, marker, numberFrom, saved } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { lifeAt } from "./reading.js";
import { h } from "./tree.js";

const WIDE = 16; // heads in a layer beyond which cells are too small for letters
const focused = new Map(); // by map, the cell that the tab key comes back to

// The place of one number within an event's arrays.
export function fieldOf(name, ...indices) {
  return `arrays["${name}"]${indices.map((index) => `[${index}]`).join("")}`;
}

// A map of one signal as it was measured, with what became of each head in that cycle; without a measurement, of states alone.
// `says` puts a number into words where its name and unit would not do.
export function headMap({
  id,
  label,
  state,
  cycle,
  measured = null,
  signal = "",
  range = null,
  scale = "viridis",
  unit = "",
  says = null,
}) {
  const chosen = placeNow().head;
  const most = Math.max(0, ...state.layers);
  const start = focused.get(id) ?? (state.layers.length ? "0.0" : "");
  const words = says ?? ((value) => (Number.isNaN(value) ? `no ${signal}` : `${signal} ${told(value, unit)}`));
  const about = { state, cycle, measured, signal, range, scale, words, chosen, start, most };
  return h(
    "div",
    { class: "map-frame", key: id },
    h(
      "table",
      {
        role: "grid",
        class: `map${most > WIDE ? " small" : ""}${measured ? "" : " states"}`,
        id: `map-${id}`,
        "aria-label": label,
        style: { "--columns": most },
        on: { keydown: (event) => walked(event, id), click: (event) => pressed(event, id), focusin: (event) => entered(event, id) },
      },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("td", { class: "corner" }, h("span", { class: "hidden" }, "layer")),
          Array.from({ length: most }, (_, head) => h("th", { scope: "col" }, most > WIDE && head % 4 ? "" : head)),
        ),
      ),
      h(
        "tbody",
        null,
        state.layers.map((count, layer) =>
          h(
            "tr",
            { key: layer },
            h("th", { scope: "row" }, layer),
            Array.from({ length: most }, (_, head) => (head < count ? cellOf(about, layer, head) : h("td", { class: "no-head" }))),
          ),
        ),
      ),
    ),
  );
}

function cellOf(about, layer, head) {
  const { state, cycle, measured, signal, range, scale, words, chosen, start } = about;
  const key = `${layer}.${head}`;
  const life = lifeAt(state, [layer, head], cycle);
  const value = measured?.grids[signal] ? at(measured.grids[signal], layer, head) : NaN;
  const known = Number.isFinite(value) && range;
  const ground = known ? colourAt(shareOf(value, range), scale) : null;
  const spoken = [`head ${key}`, measured && words(value), life.state].filter(Boolean).join(", ");
  return h(
    "td",
    {
      key,
      role: "gridcell",
      class: known ? "cell" : "cell absent",
      "data-head": key,
      "data-state": life.state,
      "aria-label": spoken,
      title: spoken,
      "aria-selected": chosen === key ? "true" : "false",
      tabindex: start === key ? "0" : "-1",
      style: ground ? { "--ground": cssOf(ground), "--on": inkOn(ground) } : {},
    },
    known && numberFrom(value, measured.seq, fieldOf(signal, layer, head), "cell"),
    (life.state !== "active" || !measured) && marker(life.state, false),
  );
}

function pressed(event, id) {
  const cell = event.target.closest("[data-head]");
  if (!cell) return;
  focused.set(id, cell.dataset.head);
  goTo({ head: cell.dataset.head });
}

// Once a head is open, the arrows open the next one: its life follows the walk.
function entered(event, id) {
  const cell = event.target.closest("[data-head]");
  if (!cell) return;
  focused.set(id, cell.dataset.head);
  for (const other of cell.closest("table").querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  cell.tabIndex = 0;
}

const STEPS_OF_KEYS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  PageUp: [-1e6, 0],
  PageDown: [1e6, 0],
  Home: [0, -1e6],
  End: [0, 1e6],
};

function walked(event, id) {
  const cell = event.target.closest("[data-head]");
  if (!cell) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return pressed(event, id);
  }
  const step = STEPS_OF_KEYS[event.key];
  if (!step || event.altKey || event.metaKey) return;
  event.preventDefault();
  const next = neighbour(cell, event.ctrlKey && !step[0] ? [step[1], step[1]] : step);
  next.focus();
  if (placeNow().head) goTo({ head: next.dataset.head }, { small: true });
}

function neighbour(cell, [down, right]) {
  const rows = [...cell.closest("tbody").rows];
  const row = Math.min(rows.length - 1, Math.max(0, rows.indexOf(cell.parentNode) + down));
  const cells = [...rows[row].querySelectorAll("[data-head]")];
  const column = Math.min(cells.length - 1, Math.max(0, Number(cell.dataset.head.split(".")[1]) + right));
  return cells[column] ?? cell;
}

// What the colours of a map say.
export function scaleBar(range, signal, unit = "", scale = "viridis") {
  if (!range) return null;
  const stops = Array.from({ length: 11 }, (_, place) => cssOf(colourAt(place / 10, scale)));
  return h(
    "p",
    { class: "scale", key: "scale" },
    counted(range[0], "lowest", "", signal),
    h("span", { class: "bar", "aria-hidden": "true", style: { background: `linear-gradient(to right, ${stops.join(",")})` } }),
    counted(range[1], "highest", "", signal),
    unit && h("span", { class: "unit" }, unit),
    h("small", null, "one scale for all cycles; hatched cells have no number"),
  );
}

// The same map in a few pixels a head.
export function thumbnail({ state, cycle, measured = null, signal = "", range = null, scale = "viridis", drawn, pixel = 10 }) {
  const most = Math.max(1, ...state.layers);
  return h("canvas", {
    class: "thumb",
    width: most * pixel,
    height: Math.max(1, state.layers.length) * pixel,
    "aria-hidden": "true",
    drawn,
    draw: (canvas) => drawMap(canvas.getContext("2d"), { state, cycle, measured, signal, range, scale, pixel }),
  });
}

function drawMap(ink, { state, cycle, measured, signal, range, scale, pixel, left = 0, top = 0 }) {
  const absent = inkOf("--absent");
  state.layers.forEach((count, layer) => {
    for (let head = 0; head < count; head += 1) {
      const value = measured?.grids[signal] ? at(measured.grids[signal], layer, head) : NaN;
      ink.fillStyle = Number.isFinite(value) && range ? cssOf(colourAt(shareOf(value, range), scale)) : absent;
      ink.fillRect(left + head * pixel, top + layer * pixel, pixel - 1, pixel - 1);
      const life = lifeAt(state, [layer, head], cycle);
      if (life.state !== "active" || !measured)
        stamp(ink, life.state, left + head * pixel + pixel * 0.15, top + layer * pixel + pixel * 0.15, pixel * 0.65);
    }
  });
}

function stamp(ink, word, x, y, size) {
  const mark = markOf(word);
  ink.save();
  ink.translate(x, y);
  ink.scale(size / 12, size / 12);
  const outline = new Path2D(SHAPES[mark.shape]);
  ink.fillStyle = mark.colour;
  ink.fill(outline);
  ink.strokeStyle = mark.edge;
  ink.lineWidth = 1;
  ink.stroke(outline);
  ink.restore();
}

// A picture of a map, to keep.
export function saveMap(name, about) {
  const pixel = 36;
  const canvas = document.createElement("canvas");
  const most = Math.max(1, ...about.state.layers);
  canvas.width = 60 + most * pixel;
  canvas.height = 60 + about.state.layers.length * pixel;
  const ink = canvas.getContext("2d");
  ink.fillStyle = inkOf("--panel");
  ink.fillRect(0, 0, canvas.width, canvas.height);
  ink.fillStyle = inkOf("--ink");
  ink.font = "13px sans-serif";
  ink.fillText(name, 8, 18);
  about.state.layers.forEach((_, layer) => ink.fillText(String(layer), 8, 40 + layer * pixel + pixel * 0.6));
  drawMap(ink, { ...about, pixel, left: 36, top: 40 });
  canvas.toBlob((blob) => saved(`${name}.png`, blob, "image/png"));
}

// Every head of a map as rows for CSV.
export function mapRows(state, cycle, measured, signals) {
  const rows = [];
  state.layers.forEach((count, layer) => {
    for (let head = 0; head < count; head += 1) {
      rows.push([
        layer,
        head,
        lifeAt(state, [layer, head], cycle).state,
        ...signals.map((signal) => (measured?.grids[signal] ? at(measured.grids[signal], layer, head) : NaN)),
      ]);
    }
  });
  return [["layer", "head", "state", ...signals], rows];
}

export function statesSeen(state) {
  const seen = new Set(["active"]);
  for (const life of state.lives.values())
    for (const turn of life) seen.add(Object.hasOwn(MARKS, turn.state) ? turn.state : "dormant");
  return seen;
}

export function isHead(state, name) {
  const [layer, head] = name.split(".").map(Number);
  return /^\d+\.\d+$/.test(name) && head < (state.layers[layer] ?? 0) && headKey([layer, head]) === name;
}
