// Attention maps: which token looks at which, as a picture, as words under the pointer, and as a table.

import { at } from "./arrays.js";
import { colourAt } from "./colour.js";
import { told, tokenShown } from "./format.js";
import { fieldOf } from "./grid.js";
import { numberFrom } from "./parts.js";
import { h } from "./tree.js";

// One map; `less` is another one of the same tokens, and then what is drawn is the difference to it.
export function attentionMap({ record, head, id, caption, less = null, level = 3 }) {
  const map = record.maps[head];
  const size = map.shape[0];
  const drawn = `${record.seq} ${head} ${less?.seq ?? ""}`;
  const words = less ? "more than before is violet, less is brown" : "0 is dark, 1 is bright";
  return h(
    "figure",
    { class: "attention", key: `${id} ${record.seq}` },
    h("figcaption", null, h(`h${level}`, null, caption), h("small", null, words)),
    h("canvas", {
      width: size,
      height: size,
      drawn,
      role: "img",
      "aria-label": `${caption}: attention of head ${head} over ${size} tokens; ${words}. The table below names what each token looks at most.`,
      draw: (canvas) => paint(canvas, map, less?.maps[head] ?? null),
      on: { pointermove: (event) => pointed(event, record, head, less), pointerleave: (event) => named(event.target, "") },
    }),
    h("p", { class: "pointed", draw: (line) => (line.textContent = ""), drawn }),
    !less && h("details", { class: "behind" }, h("summary", null, "what each token looks at"), strongest(record, head)),
  );
}

function paint(canvas, map, before) {
  const ink = canvas.getContext("2d");
  const [rows, columns] = map.shape;
  const image = ink.createImageData(columns, rows);
  for (let place = 0; place < map.values.length; place += 1) {
    const value = map.values[place] * map.scale;
    const rgb = before
      ? colourAt(0.5 + (value - before.values[place] * before.scale) / 2, "differences")
      : colourAt(value, "cividis");
    image.data.set([...rgb, 255], 4 * place);
  }
  ink.putImageData(image, 0, 0);
}

function pointed(event, record, head, less) {
  const map = record.maps[head];
  const box = event.target.getBoundingClientRect();
  const key = Math.min(map.shape[1] - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * map.shape[1])));
  const query = Math.min(map.shape[0] - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * map.shape[0])));
  const weight = at(map, query, key);
  const change = less ? `, ${moreOrLess(weight - at(less.maps[head], query, key))} than before` : "";
  named(
    event.target,
    `${query} ${tokenShown(record.tokens[query] ?? "")} → ${key} ${tokenShown(record.tokens[key] ?? "")}: ${told(weight, "shade")}${change}`,
  );
}

function moreOrLess(change) {
  return `${told(Math.abs(change), "shade")} ${change < 0 ? "less" : "more"}`;
}

function named(canvas, text) {
  const line = canvas.parentNode.querySelector(".pointed");
  line.textContent = text;
}

// For each token, the three it gives most weight to.
function strongest(record, head) {
  const map = record.maps[head];
  const rows = Array.from({ length: map.shape[0] }, (_, query) => {
    const order = Array.from({ length: map.shape[1] }, (_, key) => key).sort(
      (one, other) => at(map, query, other) - at(map, query, one),
    );
    return [query, order.slice(0, 3)];
  });
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "what each token looks at" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["token", "most", "second", "third"].map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map(([query, keys]) =>
          h(
            "tr",
            null,
            h("th", { scope: "row" }, h("code", null, tokenShown(record.tokens[query] ?? "")), ` ${query}`),
            keys.map((key) =>
              h(
                "td",
                null,
                h("code", null, tokenShown(record.tokens[key] ?? "")),
                ` ${key} `,
                numberFrom(at(map, query, key), record.seq, fieldOf(head, query, key), "shade"),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
