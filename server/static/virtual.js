// Which rows of a long list are in sight: pure, without page elements. All lengths are in pixels.

/**
 * Divide entries into rows of at most `columns`; an entry with a `group` has a row to itself. Returns
 * {rows, tops, height}: `rows[i]` are the indexes [from, to) of its entries, `tops[i]` where it begins.
 */
export function rowsOf(entries, { columns, itemHeight, groupHeight }) {
  const rows = [];
  const tops = [];
  let height = 0;
  for (let from = 0; from < entries.length; ) {
    let to = from + 1;
    const isGroup = entries[from].group !== undefined;
    while (!isGroup && to < entries.length && to - from < columns) {
      if (entries[to].group !== undefined) break;
      to += 1;
    }
    rows.push([from, to]);
    tops.push(height);
    height += isGroup ? groupHeight : itemHeight;
    from = to;
  }
  return { rows, tops, height };
}

/** The last row that begins at or before a height; 0 if none does. */
function rowAt(tops, at) {
  let low = 0;
  let high = tops.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The part of the list between two heights, with `margin` pixels more on both sides: the indexes
 * [from, to) of its entries, and the heights `before` and `after` it.
 */
export function windowOf({ rows, tops, height }, top, bottom, margin) {
  if (rows.length === 0) return { from: 0, to: 0, before: 0, after: 0 };
  const first = rowAt(tops, top - margin);
  const last = rowAt(tops, bottom + margin);
  const end = last + 1 < rows.length ? tops[last + 1] : height;
  return { from: rows[first][0], to: rows[last][1], before: tops[first], after: height - end };
}
