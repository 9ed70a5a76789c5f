import { expect, test } from "vitest";
import { Turns } from "./turns";
import type { Wanted } from "./turns";

const keyOf = (index: number) => `row ${index}`;

/** Rows 30 to 39 are in view, with eight on each side. */
const view = { first: 30, last: 39, from: 22, to: 47, keep: [] };

/** Renders once. @returns the indexes, and how many of them are complete */
function render(turns: Turns, wanted: Wanted) {
  const turn = turns.plan(wanted, keyOf);
  turns.finish(turn, keyOf);
  return { indexes: turn.indexes, complete: turn.complete.size, missing: turn.missing };
}

/** Renders in later tasks until nothing is missing. */
function renderAll(turns: Turns, wanted: Wanted) {
  for (let tasks = 0; tasks < 20; tasks++) {
    turns.begin(true);
    if (!render(turns, wanted).missing) return;
  }
  throw new Error("no end");
}

test("rows in view are rendered at once, the others a few in each task, and then their parts", () => {
  const turns = new Turns();
  expect(render(turns, view)).toEqual({ indexes: range(30, 39), complete: 0, missing: "rows" });
  for (const indexes of [range(27, 42), range(24, 45)]) {
    turns.begin(false);
    expect(render(turns, view)).toEqual({ indexes, complete: 0, missing: "rows" });
  }
  turns.begin(false);
  expect(render(turns, view)).toEqual({ indexes: range(22, 47), complete: 0, missing: "parts" });
  turns.begin(true);
  expect(render(turns, view)).toEqual({ indexes: range(22, 47), complete: 16, missing: "parts" });
  turns.begin(true);
  expect(render(turns, view)).toEqual({ indexes: range(22, 47), complete: 26, missing: null });
});

test("a task that renders several times has one allowance", () => {
  const turns = new Turns();
  render(turns, view);
  turns.begin(false);
  expect(render(turns, view).indexes).toEqual(range(27, 42));
  expect(render(turns, view).indexes).toEqual(range(27, 42));
  // Measured, the rows turn out to be lower: more of them are in view.
  expect(render(turns, { ...view, first: 26 }).indexes).toEqual(range(26, 42));
});

test("a short scroll renders the rows that come into view, and some ahead", () => {
  const turns = new Turns();
  renderAll(turns, view);
  turns.begin(false);
  const { indexes } = render(turns, { ...view, first: 20, last: 29, from: 12, to: 37 });
  expect(indexes).toEqual(range(16, 37));
});

test("a task with new rows completes none, and complete rows stay complete", () => {
  const turns = new Turns();
  renderAll(turns, view);
  const moved = { ...view, first: 31, last: 40, from: 23, to: 48 };
  turns.begin(true);
  expect(render(turns, moved)).toEqual({ indexes: range(23, 48), complete: 25, missing: "parts" });
});

test("a row out of view that has the focus and is edited is no missing row", () => {
  const turns = new Turns();
  const wanted = { ...view, keep: [3, 3] };
  renderAll(turns, wanted);
  expect(render(turns, wanted)).toEqual({ indexes: [3, ...range(22, 47)], complete: 27, missing: null });
});

test("a row that has the focus is rendered completely and at once, wherever it is", () => {
  const turns = new Turns();
  const { indexes, complete } = turns.plan({ ...view, keep: [3, 35] }, keyOf);
  expect(indexes).toEqual([3, ...range(30, 39)]);
  expect([...complete]).toEqual(["row 3", "row 35"]);
});

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => from + at);
