// The evaluation: two stages side by side, in words, in documents, in attention; and what quality bought in speed.

import { attentionMap } from "./attention.js";
import { differences, tokensOf } from "./differ.js";
import { harmless, numberOf, signed, told } from "./format.js";
import { choice, csvButton, derived, empty, fact, numberFrom, panel, sortable, tile } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { chart } from "./plots.js";
import { attentionOf, evaluationNamed, watchedHeads } from "./reading.js";
import { h } from "./tree.js";
import { plainName, plainStage } from "./words.js";
import { bought, comparisonTable, speedTable } from "./worth.js";

export function evaluation(state) {
  const names = state.evaluations.map((each) => each.name);
  if (!names.length)
    return empty(
      state.items ? "Nothing has been judged yet." : "Nothing is recorded yet.",
      "Perplexity, texts, documents and attention of two stages stand here side by side.",
    );
  const asked = placeNow().stages.split(",");
  const stages = [names.includes(asked[0]) ? asked[0] : names[0], names.includes(asked[1]) ? asked[1] : names.at(-1)];
  return [
    stageChoice(names, stages),
    stageTiles(state, stages),
    perplexities(state),
    texts(state, stages),
    documentsOf(state, stages),
    attentionPair(state, stages),
    bought(state),
    speedTable(state),
    comparisonTable(state),
  ];
}

function stageChoice(names, stages) {
  const options = [...new Set(names)].map((name) => [name, plainStage(name)]);
  const choose = (place) => (name) =>
    goTo({ stages: stages.map((stage, each) => (each === place ? name : stage)).join(",") }, { small: true });
  return h(
    "div",
    { class: "row", key: "stages", role: "group", "aria-label": "stages compared" },
    choice("before", stages[0], options, choose(0)),
    choice("after", stages[1], options, choose(1)),
  );
}

function stageTiles(state, stages) {
  const [before, after] = stages.map((name) => evaluationNamed(state, name));
  const names = Object.keys(after.values);
  return h(
    "dl",
    { class: "tiles", key: "tiles" },
    names.map((name) =>
      tile(
        plainName(name),
        fact(after, `values.${name}`, name === "tokens" ? "count" : ""),
        name in before.values && name !== "tokens" && before !== after
          ? [
              fact(before, `values.${name}`),
              " before · ",
              derived(
                "difference",
                [
                  [before, `values.${name}`],
                  [after, `values.${name}`],
                ],
                "",
                true,
              ),
            ]
          : plainStage(after.name),
      ),
    ),
  );
}

function perplexities(state) {
  const points = state.evaluations.filter((each) => "perplexity" in each.values);
  if (!points.length) return null;
  return chart({
    id: "perplexities",
    title: "Perplexity",
    drawn: points.length,
    say: points.map((each) => `${plainName(each.name)} ${told(numberOf(each.values.perplexity))}`).join(", "),
    table: () => [
      ["stage", "perplexity", "loss"],
      points.map((each) => [each.name, numberOf(each.values.perplexity), numberOf(each.values.loss_nats)]),
    ],
    cells: () => points.map((each) => [plainName(each.name), fact(each, "values.perplexity"), fact(each, "values.loss_nats")]),
    plot: (ink) => ({
      traces: [
        {
          type: "bar",
          orientation: "h",
          y: points.map((each) => plainName(each.name)),
          x: points.map((each) => numberOf(each.values.perplexity)),
          text: points.map((each) => told(numberOf(each.values.perplexity))),
          textposition: "auto",
          insidetextfont: { color: ink.ground },
          marker: { color: ink.lines[0] },
        },
      ],
      layout: {
        showlegend: false,
        hovermode: "closest",
        yaxis: { type: "category", autorange: "reversed", showgrid: false },
        xaxis: { showgrid: true, rangemode: "tozero" },
      },
    }),
    height: Math.max(200, 60 + 26 * Math.min(20, points.length)),
  });
}

function texts(state, stages) {
  const pair = stages.map((name) => state.samples.findLast((each) => each.name === name) ?? null);
  const [before, after] = pair;
  if (!before && !after)
    return panel(
      "What it writes",
      { id: "texts", wide: true },
      empty(
        "No text was written at these stages.",
        state.samples.length
          ? `There are texts of ${state.samples.map((each) => plainName(each.name)).join(", ")}.`
          : "A sample of each stage stands here, with its differences marked.",
      ),
    );
  const pieces =
    before && after ? differences(before.text, after.text) : pair.map((sample) => [{ same: true, text: sample?.text ?? "" }]);
  const changed = pieces[1].filter((piece) => !piece.same).reduce((sum, piece) => sum + tokensOf(piece.text).length, 0);
  const note =
    before && after
      ? changed
        ? `${told(changed, "count")} words and signs of the later text are not in the earlier one; they are marked`
        : "the texts are the same"
      : "one of these stages wrote no text";
  return panel(
    "What it writes",
    { id: "texts", wide: true, note },
    h(
      "div",
      { class: "pair" },
      pair.map((sample, side) =>
        h(
          "div",
          { key: side },
          h("h3", null, plainStage(stages[side])),
          sample
            ? h(
                "pre",
                { class: "sample", tabindex: "0", "aria-label": `text at ${plainStage(stages[side])}`, dir: "auto" },
                h("span", { class: "prompt" }, sample.prompt),
                pieces[side].map((piece) => markedWords(piece, side ? "ins" : "del")),
              )
            : empty("no text", ""),
        ),
      ),
    ),
  );
}

// What differs is marked word by word; blanks between are left as they are.
function markedWords(piece, mark) {
  return piece.same ? piece.text : piece.text.split(/(\s+)/).map((word) => (/\S/.test(word) ? h(mark, null, word) : word));
}

function documentsOf(state, stages) {
  const [before, after] = stages.map((name) => evaluationNamed(state, name));
  if (before === after || !before.losses || !after.losses || before.documents.length !== after.documents.length)
    return panel(
      "Document by document",
      { id: "documents", wide: true },
      empty(
        "The losses of the single documents cannot be compared here.",
        "Choose two different stages that were judged on the same documents.",
      ),
    );
  const judged = state.evaluations.filter((each) => each.losses && each.documents.length === after.documents.length);
  const rows = after.documents
    .map((name, place) => ({
      name,
      place,
      before: before.losses.values[place],
      after: after.losses.values[place],
      change: after.losses.values[place] - before.losses.values[place],
    }))
    .filter((row) => judged.some((each) => !Number.isNaN(each.losses.values[row.place]))); // too short ones never are
  const left = after.documents.length - rows.length;
  const ordered = rows.toSorted(
    (one, other) => Number.isNaN(one.change) - Number.isNaN(other.change) || other.change - one.change || 0,
  );
  const known = ordered.filter((row) => !Number.isNaN(row.change));
  const worse = rows.filter((row) => row.change > 0).length;
  return [
    chart({
      id: "documents",
      title: "Document by document",
      wide: true,
      drawn: `${before.seq} ${after.seq}`,
      say: `${worse} of ${known.length} documents became worse.`,
      note: `difference of the loss, the worst first; above 0 is worse${neverJudged(left)}`,
      table: () => [
        ["document", "before", "after", "difference"],
        ordered.map((row) => [row.name, row.before, row.after, row.change]),
      ],
      cells: () =>
        ordered.map((row) => [
          harmless(row.name, 120),
          lossCell(row, before, "before"),
          lossCell(row, after, "after"),
          changeCell(row, before, after),
        ]),
      plot: (ink) => ({
        traces: [
          {
            type: "bar",
            x: known.map((_, place) => place + 1),
            y: known.map((row) => row.change),
            hovertext: known.map((row) => row.name),
            marker: { color: known.map((row) => (row.change > 0 ? ink.lines[1] : ink.lines[0])) },
          },
        ],
        layout: {
          showlegend: false,
          xaxis: { title: { text: "documents, the worst first" } },
          yaxis: { title: { text: "nats a token" } },
        },
      }),
    }),
    worstTable(ordered, rows, before, after),
  ];
}

function neverJudged(count) {
  if (!count) return "";
  if (count === 1) return "; 1 document that was never judged is left out";
  return `; ${told(count, "count")} documents that were never judged are left out`;
}

function lossCell(row, from, side) {
  return numberFrom(row[side], from.seq, `arrays["document_losses"][${row.place}]`);
}

function changeCell(row, before, after) {
  const field = `arrays["document_losses"][${row.place}]`;
  return h(
    "data",
    {
      class: "n",
      value: String(row.change),
      "data-rule": "difference",
      "data-from": `${before.seq}:${field} ${after.seq}:${field}`,
      "data-unit": "",
    },
    signed(row.change),
  );
}

function worstTable(ordered, rows, before, after) {
  const columns = [
    {
      name: "document",
      label: "document",
      class: "reason",
      value: (row) => row.name,
      cell: (row) => h("bdi", null, harmless(row.name, 120)),
    },
    { name: "before", label: "before", numeric: true, value: (row) => row.before, cell: (row) => lossCell(row, before, "before") },
    { name: "after", label: "after", numeric: true, value: (row) => row.after, cell: (row) => lossCell(row, after, "after") },
    {
      name: "change",
      label: "difference",
      numeric: true,
      value: (row) => row.change,
      cell: (row) => changeCell(row, before, after),
    },
  ];
  const tools = csvButton("documents", () => [
    ["document", "before", "after", "difference"],
    rows.map((row) => [row.name, row.before, row.after, row.change]),
  ]);
  return panel(
    "Worst documents",
    { id: "worst", wide: true, tools },
    sortable("documents by how their loss changed", columns, ordered, {
      sort: placeNow().sort,
      shown: 20,
      rowKey: (row) => row.place,
    }),
  );
}

function attentionPair(state, stages) {
  const watched = watchedHeads(state);
  if (!watched.length)
    return panel(
      "Attention before and after",
      { id: "attention", wide: true },
      empty(
        "No attention map is recorded.",
        "The maps of a few watched heads are recorded at the beginning and after each recovery.",
      ),
    );
  const asked = placeNow().head.split(".").map(Number);
  const head =
    watched.find((each) => each[0] === asked[0] && each[1] === asked[1]) ??
    watched.findLast((each) => attentionOf(state, each).length > 1) ??
    watched[0];
  const key = head.join(".");
  const records = attentionOf(state, head);
  const near = (name, usual) => records.find((each) => each.name === name) ?? usual;
  const before = near(stages[0], records[0]);
  const after = near(stages[1], records.at(-1));
  const tools = choice(
    "head",
    key,
    watched.map((each) => [each.join("."), `${each.join(".")} (${attentionOf(state, each).length})`]),
    (value) => goTo({ head: value }, { small: true }),
  );
  const note =
    records.length < 2
      ? "this head was seen once; it was pruned before it could be seen again"
      : "the maps at the chosen stages, or else the first and the last of this head";
  return panel(
    "Attention before and after",
    { id: "attention", wide: true, tools, note },
    h(
      "div",
      { class: "maps" },
      attentionMap({ record: before, head: key, id: "before", caption: plainStage(before.name) }),
      after !== before && attentionMap({ record: after, head: key, id: "after", caption: plainStage(after.name) }),
      after !== before &&
        sameShape(before, after, key) &&
        attentionMap({ record: after, head: key, id: "change", caption: "difference", less: before }),
    ),
  );
}

function sameShape(one, other, key) {
  return one.maps[key].shape.join() === other.maps[key].shape.join();
}
