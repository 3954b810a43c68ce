// Two texts side by side, token by token: what stands in both, what in one alone.

const MOST_TOKENS = 3000; // tokens of a side that are compared one with another

export function tokensOf(text) {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

// [{same, text}] for either side, by the longest sequence that both have in common.
export function differences(one, other) {
  const sides = [tokensOf(one), tokensOf(other)];
  let start = 0;
  while (start < sides[0].length && sides[0][start] === sides[1][start]) start += 1;
  let end = 0;
  while (end < Math.min(sides[0].length, sides[1].length) - start && sides[0].at(-1 - end) === sides[1].at(-1 - end)) end += 1;
  const middles = sides.map((tokens) => tokens.slice(start, tokens.length - end));
  const kept = middles.every((tokens) => tokens.length <= MOST_TOKENS) ? commonOf(...middles) : [new Set(), new Set()];
  return sides.map((tokens, side) =>
    runsOfSame(tokens, (place) => place < start || place >= tokens.length - end || kept[side].has(place - start)),
  );
}

// The places, on either side, of one longest common sequence.
function commonOf(one, other) {
  const width = other.length + 1;
  const lengths = new Uint16Array((one.length + 1) * width);
  for (let row = one.length - 1; row >= 0; row -= 1) {
    for (let column = other.length - 1; column >= 0; column -= 1) {
      const here = row * width + column;
      lengths[here] =
        one[row] === other[column] ? lengths[here + width + 1] + 1 : Math.max(lengths[here + width], lengths[here + 1]);
    }
  }
  const found = [new Set(), new Set()];
  for (let row = 0, column = 0; row < one.length && column < other.length;) {
    const here = row * width + column;
    if (one[row] === other[column]) {
      found[0].add(row++);
      found[1].add(column++);
    } else if (lengths[here + width] >= lengths[here + 1]) row += 1;
    else column += 1;
  }
  return found;
}

function runsOfSame(tokens, isSame) {
  const pieces = [];
  tokens.forEach((token, place) => {
    const same = isSame(place);
    if (pieces.at(-1)?.same === same) pieces.at(-1).text += token;
    else pieces.push({ same, text: token });
  });
  return pieces;
}
