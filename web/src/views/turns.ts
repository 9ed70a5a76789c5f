// Which rows of a long list are rendered in one task, so that no task is long. Rows in view are rendered at once. Those around
// them follow in later tasks, and then the parts of rows that are only seen on hover or focus.

/** Rows out of view wait when the task has rendered this many new rows. */
const NEW_ROWS = 6;
/** Rows that one task completes. */
const COMPLETED_ROWS = 16;

/** The rows to render in the end. */
export interface Wanted {
  /** Those in view. */
  first: number;
  last: number;
  /** With those around them. */
  from: number;
  to: number;
  /** Rows that are rendered completely and at once, wherever they are. */
  keep: number[];
}

/** The rows to render now. */
export interface Turn {
  /** In order. */
  indexes: number[];
  /** The keys of the rows that have all their parts. */
  complete: Set<string>;
  /** What a later task has to add. */
  missing: "rows" | "parts" | null;
}

export class Turns {
  /** The rows in the document, and whether they are complete. */
  private rendered = new Map<string, boolean>();
  private newRows = NEW_ROWS;
  private completions = 0;

  /**
   * Begins another task. Until then, all renderings share one allowance: rows are often rendered again when measured.
   *
   * @param parts completes rows, unless there are new ones
   */
  begin(parts: boolean) {
    this.newRows = NEW_ROWS;
    this.completions = parts ? COMPLETED_ROWS : 0;
  }

  /** @param keyOf the key of a row by its index */
  plan({ first, last, from, to, keep }: Wanted, keyOf: (index: number) => string): Turn {
    const isNew = (index: number) => !this.rendered.has(keyOf(index));
    const indexes = new Set(keep);
    for (let index = first; index <= last; index++) indexes.add(index);
    let room = this.newRows - [...indexes].filter(isNew).length;
    for (let away = 1; away <= Math.max(first - from, to - last); away++) {
      for (const index of [first - away, last + away]) {
        if (index < from || index > to || (isNew(index) && room-- <= 0)) continue;
        indexes.add(index);
      }
    }
    let completions = room < NEW_ROWS ? 0 : this.completions;
    const complete = new Set(keep.map(keyOf));
    for (const index of indexes) {
      const key = keyOf(index);
      if (!complete.has(key) && (this.rendered.get(key) || completions-- > 0)) complete.add(key);
    }
    const outside = new Set(keep.filter((index) => index < from || index > to));
    const count = to - from + 1 + outside.size;
    const missing = indexes.size < count ? "rows" : complete.size < count ? "parts" : null;
    return { indexes: [...indexes].sort((a, b) => a - b), complete, missing };
  }

  /** Call it when the rows are in the document. */
  finish({ indexes, complete }: Turn, keyOf: (index: number) => string) {
    const before = this.rendered;
    this.rendered = new Map(indexes.map((index) => [keyOf(index), complete.has(keyOf(index))]));
    for (const [key, isComplete] of this.rendered) {
      if (!before.has(key)) this.newRows--;
      else if (isComplete && !before.get(key)) this.completions--;
    }
  }
}
