// The runs of an offline report, unpacked; in a large one, arrays that come again in every cycle lie in columns.
// dashboard/columns.py writes them and says how.

import { inflated, unzipped } from "./arrays.js";

const DROPPED = 11; // bits that the floats of a column do without

// The runs that a feed carries inside, with all their arrays.
export async function runsOf(feed) {
  const runs = feed.gz ? JSON.parse(await inflated(feed.gz)).runs : feed.runs;
  if (feed.columns) restore(runs, await unzipped(feed.columns));
  return runs;
}

function restore(runs, bytes) {
  const columns = [];
  for (const run of runs) {
    for (const item of run.items) {
      for (const packed of Object.values(item.arrays ?? {})) {
        if ("column" in packed) (columns[packed.column] ??= [])[packed.row] = packed;
      }
    }
  }
  let start = 0;
  for (const column of columns)
    start = column[0].type === "u1" ? restoreShades(column, bytes, start) : restoreFloats(column, bytes, start);
}

function lengthOf(packed) {
  return packed.shape.reduce((product, length) => product * length, 1);
}

// One byte a number: each is the step from the same element of the array before.
function restoreShades(column, bytes, start) {
  const size = lengthOf(column[0]);
  const values = column.map(() => new Uint8Array(size));
  let next = start;
  for (let element = 0; element < size; element += 1) {
    let value = 0;
    for (const row of values) {
      value = (value + bytes[next]) & 255;
      row[element] = value;
      next += 1;
    }
  }
  column.forEach((packed, row) => (packed.values = values[row]));
  return next;
}

// Three bytes a number, the low ones of all first: steps, folded so that those down are odd and those up are even.
function restoreFloats(column, bytes, start) {
  const size = lengthOf(column[0]);
  const count = size * column.length;
  const values = column.map(() => new Uint32Array(size));
  let next = start;
  for (let element = 0; element < size; element += 1) {
    let value = 0;
    for (const row of values) {
      const folded = bytes[next] + 256 * bytes[next + count] + 65536 * bytes[next + 2 * count];
      value += folded % 2 ? -(folded + 1) / 2 : folded / 2;
      row[element] = value << DROPPED;
      next += 1;
    }
  }
  column.forEach((packed, row) => (packed.values = new Float32Array(values[row].buffer)));
  return start + 3 * count;
}
