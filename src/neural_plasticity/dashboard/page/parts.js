// The small pieces that every view is made of: numbers that say where they come from, heads, tables, panels, empty states.

import { MARKS, SHAPES, markOf } from "./colour.js";
import { csvOf, harmless, numberOf, signed, told } from "./format.js";
import { addressOf, goTo } from "./place.js";
import { h } from "./tree.js";

// A number of the record: `data-seq` names the event and `data-field` the place in it, so that anybody can look it up.
export function fact(event, field, unit = "", sign = false) {
  if (!event) return missing();
  const raw = valueAt(event, field);
  if (raw === undefined || raw === null) return missing();
  return numberFrom(raw, event.seq, field, unit, sign);
}

// What stands at a place like `values.loss`. Only the first dot parts: a name of the record may have dots of its own.
export function valueAt(event, field) {
  const dot = field.indexOf(".");
  const path = dot < 0 ? [field] : [field.slice(0, dot), field.slice(dot + 1)];
  const within = (held, name) => (typeof held === "object" && held && Object.hasOwn(held, name) ? held[name] : undefined);
  return path.reduce(within, event);
}

export function numberFrom(raw, seq, field, unit = "", sign = false) {
  const value = numberOf(raw);
  const text = sign ? signed(value, unit) : told(value, unit);
  return h(
    "data",
    {
      class: Number.isFinite(value) ? "n" : "n broken",
      value: typeof raw === "number" ? String(raw) : harmless(raw, 400),
      "data-seq": seq,
      "data-field": field,
      "data-unit": unit,
    },
    text,
  );
}

// How numbers of the page follow from numbers of the record; each source is [event, field].
const RULES = {
  difference: (first, second) => second - first,
  reduction: (first, second) => 1 - second / first,
  ratio: (first, second) => first / second,
  recovery: (baseline, pruned, tuned) => (pruned - tuned) / (pruned - baseline),
};

export function derived(rule, sources, unit = "", sign = false) {
  const raws = sources.map(([event, field]) => valueAt(event, field));
  if (raws.some((raw) => raw === undefined || raw === null)) return missing();
  const value = RULES[rule](...raws.map(numberOf));
  const from = sources.map(([event, field]) => `${event.seq}:${field}`).join(" ");
  return h(
    "data",
    { class: "n", value: String(value), "data-rule": rule, "data-from": from, "data-unit": unit },
    sign ? signed(value, unit) : told(value, unit),
  );
}

// A number that was counted or worked out over many events; the rule says how, for whoever wants to count again.
export function counted(value, rule, unit = "count", about = "") {
  return h(
    "data",
    { class: "n", value: String(value), "data-rule": rule, "data-about": about, "data-unit": unit },
    told(value, unit),
  );
}

export function missing(why = "not recorded") {
  return h("span", { class: "none", title: why }, "–");
}

export function marker(state, title = true) {
  const mark = markOf(state);
  const hidden = title ? { role: "img", "aria-label": mark.word } : { "aria-hidden": "true" };
  return h(
    "svg",
    { class: `mark ${mark.word}`, viewBox: "0 0 12 12", ...hidden },
    h("path", { d: SHAPES[mark.shape], fill: mark.colour, stroke: mark.edge }),
  );
}

// A head by its name, as a link that opens its life.
export function headLink(head, state = null) {
  const name = `${head[0]}.${head[1]}`;
  return h(
    "a",
    { class: "head-link", href: addressOf({ head: name }), "aria-label": `head ${name}${state ? `, ${state}` : ""}` },
    state && marker(state, false),
    name,
  );
}

export function stateLegend(seen) {
  const shown = Object.keys(MARKS).filter((state) => seen.has(state));
  return h(
    "ul",
    { class: "legend", "aria-label": "states of heads" },
    shown.map((state) =>
      h("li", { key: state }, marker(state, false), h("span", null, state), h("small", null, MARKS[state].says)),
    ),
  );
}

export function panel(title, options, ...children) {
  const { id = title.toLowerCase().replace(/[^a-z]+/g, "-"), wide = false, note = "", tools = null, level = 2 } = options ?? {};
  return h(
    "section",
    { key: id, class: `panel${wide ? " wide" : ""}`, "aria-labelledby": `h-${id}`, id: `p-${id}` },
    h("header", { class: "panel-head" }, h(`h${level}`, { id: `h-${id}` }, title), tools && h("div", { class: "tools" }, tools)),
    note && h("p", { class: "note" }, note),
    children,
  );
}

export function empty(what, comes) {
  return h("div", { class: "empty" }, h("p", null, what), comes && h("p", { class: "note" }, comes));
}

export function tile(label, value, ...beside) {
  return h(
    "div",
    { class: "tile", key: label },
    h("dt", null, label),
    h("dd", null, h("span", { class: "big" }, value), beside.length ? h("span", { class: "beside" }, beside) : null),
  );
}

export function button(label, press, props = {}) {
  return h("button", { type: "button", ...props, on: { click: press } }, label);
}

export function choice(label, value, options, choose) {
  return h(
    "label",
    { class: "choice" },
    h("span", null, label),
    h(
      "select",
      { value, "aria-label": label, on: { change: (event) => choose(event.target.value) } },
      options.map(([name, text]) => h("option", { key: name, value: name, selected: name === value }, text ?? name)),
    ),
  );
}

export function saved(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

export function csvButton(name, rows) {
  return button(
    "CSV",
    () => {
      const [columns, lines] = rows();
      saved(`${name}.csv`, csvOf(columns, lines), "text/csv");
    },
    { class: "quiet", "aria-label": `download ${name} as CSV` },
  );
}

const MOST_ROWS = 200;

// A table whose columns know how to sort: {name, label, numeric, value(row), cell(row)}. The order stands in the address.
export function sortable(caption, columns, rows, options = {}) {
  const { sort = "", shown = MOST_ROWS, more = null, chosen = () => false, rowKey = (row, place) => place } = options;
  const descending = sort.startsWith("-");
  const by = columns.find((column) => column.name === sort.replace("-", ""));
  const ordered = by ? rows.toSorted((one, other) => (descending ? -1 : 1) * compared(by.value(one), by.value(other))) : rows;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", { class: "hidden" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((column) => headCell(column, by, descending)),
        ),
      ),
      h(
        "tbody",
        null,
        ordered.slice(0, shown).map((row, place) =>
          h(
            "tr",
            { key: rowKey(row, place), class: chosen(row) ? "chosen" : null },
            columns.map((column, first) => bodyCell(column, row, first === 0)),
          ),
        ),
      ),
    ),
    ordered.length > shown &&
      h(
        "p",
        { class: "note" },
        `${shown} of ${ordered.length} rows; the CSV has all. `,
        more && button("show more", more, { class: "quiet" }),
      ),
  );
}

function headCell(column, by, descending) {
  const now = by === column ? (descending ? "descending" : "ascending") : null;
  const sorting = () =>
    goTo({ sort: now === "ascending" ? `-${column.name}` : now === "descending" ? "" : column.name }, { small: true });
  const label =
    column.sorts === false
      ? column.label
      : button(
          [column.label, h("span", { class: "arrow", "aria-hidden": "true" }, now === "ascending" ? "▲" : now ? "▼" : "")],
          sorting,
          { class: "sort" },
        );
  return h("th", { key: column.name, scope: "col", class: column.numeric ? "num" : null, "aria-sort": now }, label);
}

function bodyCell(column, row, first) {
  const props = { key: column.name, class: column.numeric ? "num" : (column.class ?? null) };
  return first ? h("th", { ...props, scope: "row" }, column.cell(row)) : h("td", props, column.cell(row));
}

function compared(one, other) {
  const broken = (value) => value === null || value === undefined || Number.isNaN(value);
  if (broken(one) || broken(other)) return broken(one) - broken(other);
  return typeof one === "number" && typeof other === "number"
    ? one - other
    : String(one).localeCompare(String(other), "en", { numeric: true });
}

// A plain table of what a chart draws, behind it: for screen readers, and for whoever trusts numbers more.
export function plainTable(caption, columns, rows) {
  const some = rows.length > 600 ? rows.filter((_, place) => place % Math.ceil(rows.length / 600) === 0) : rows;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      null,
      h(
        "caption",
        null,
        some.length < rows.length ? `${caption}, ${some.length} of ${rows.length} rows; the CSV has all` : caption,
      ),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        null,
        some.map((row) =>
          h(
            "tr",
            null,
            row.map((cell, place) =>
              h(
                place ? "td" : "th",
                place ? { class: "num" } : { scope: "row" },
                typeof cell === "string" ? harmless(cell, 200) : cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
