// Renders the rows of a long list that are near the view, and keeps the reader's place.
//
// The rows in view are rendered at once. Those around them follow in later tasks, a few at a time, so that no task is long.
//
// A reader at the end stays at the end. Elsewhere the first visible row stays in place, whatever is added, removed or
// resized above it.
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { Turns } from "./turns";
import type { Range, VirtualItem } from "@tanstack/virtual-core";
import type { RefObject } from "preact";
import type { Place } from "../state/timeline";
import type { Turn, Wanted } from "./turns";

/** Within this many pixels, the reader counts as being at the end. */
export const NEAR_END_PX = 40;
/** Rows above and below the view. */
const OVERSCAN = 8;
/** Most rows that the reader scrolls past are gone before their parts are rendered. */
const PARTS_MS = 100;
/** Past every end, for the browser to clamp. */
const END_PX = 1e7;

export type List = Virtualizer<HTMLDivElement, HTMLElement>;

export interface Options {
  box: RefObject<HTMLDivElement | null>;
  /** Of the rows, from the top. */
  keys: string[];
  estimate: (index: number) => number;
  /** Rows that stay in the document out of view, because they have the focus or unsent text. */
  keep: number[];
  /** Whether a reader at the end follows what is added there. */
  follow: boolean;
  /** Where to begin; null at the end. */
  place: Omit<Place, "seen"> | null;
}

export interface Rendered {
  list: List;
  /** The keys of the rows that have all their parts; the others follow. */
  complete: Set<string>;
}

export function useVirtualList({ box, keys, estimate, keep, follow, place }: Options): Rendered {
  const [, render] = useReducer((count: number) => count + 1, 0);
  const ref = useRef<List | null>(null);
  const [turns] = useState(() => new Turns());
  const getItemKey = (index: number) => keys[index];
  let turn: Turn = { indexes: [], complete: new Set(), missing: null };
  const options = {
    count: keys.length,
    getItemKey,
    estimateSize: estimate,
    getScrollElement: () => box.current,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    measureElement: heightOf,
    rangeExtractor: (range: Range) => (turn = turns.plan(wanted(range, keep), getItemKey)).indexes,
    anchorTo: "end" as const,
    followOnAppend: follow,
    scrollEndThreshold: NEAR_END_PX,
    overscan: OVERSCAN,
    // Before the first layout.
    initialRect: { width: innerWidth, height: innerHeight },
    initialOffset: () => (place ? startOf(place, keys, estimate) : END_PX),
    onChange: () => render(0),
  };
  if (!ref.current) {
    ref.current = new Virtualizer(options);
    if (place) ref.current.itemSizeCache = new Map(place.sizes);
  }
  const list = ref.current;
  list.setOptions(options);
  list.shouldAdjustScrollPositionOnItemSizeChange = isAbove;
  list.getVirtualItems();
  const { complete, missing } = turn;
  useLayoutEffect(() => turns.finish(turn, getItemKey));
  const proceed = (parts: boolean) => {
    turns.begin(parts);
    render(0);
  };
  useLater(missing === "rows", 0, () => proceed(false));
  useLater(missing === "parts", PARTS_MS, () => proceed(true));
  useLayoutEffect(() => list._didMount(), []);
  useLayoutEffect(() => list._willUpdate());
  useLayoutEffect(() => measureNew(list, turn.indexes));
  useLayoutEffect(() => {
    // A list that fits into the view never scrolls, and keeps its first offset: no row would count as in view.
    if ((list.scrollOffset ?? 0) <= list.getTotalSize() || !fits(box.current)) return;
    list.scrollOffset = 0;
    render(0);
  });
  useLayoutEffect(() => forgetSizes(list, keys), [keys]);
  return { list, complete };
}

/** Runs the work once, in a later task. */
function useLater(wanted: boolean, ms: number, work: () => void) {
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => {
    if (!wanted) return;
    // Not put off by other renderings, which may come without end.
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      work();
    }, ms);
  });
  useEffect(() => () => clearTimeout(timer.current), []);
}

const fits = (box: HTMLElement | null) => box !== null && box.scrollHeight <= box.clientHeight;

/** The reader's place, or null at the end. */
export function placeOf(list: List): Omit<Place, "seen"> | null {
  const offset = list.scrollOffset ?? 0;
  const first = list.getVirtualItemForOffset(offset);
  if (!first) return null;
  return {
    key: String(first.key),
    distance: first.start - offset,
    sizes: new Map(list.itemSizeCache as Map<string, number>),
  };
}

function startOf({ key, distance, sizes }: Omit<Place, "seen">, keys: string[], estimate: (index: number) => number) {
  let start = 0;
  for (const [index, each] of keys.entries()) {
    if (each === key) return Math.max(0, start - distance);
    start += sizes.get(each) ?? estimate(index);
  }
  return END_PX;
}

/** Unrounded, because the rows are in the flow of the document: rounding would move them. */
function heightOf(element: HTMLElement, entry: ResizeObserverEntry | undefined, list: Virtualizer<any, HTMLElement>) {
  if (entry) return entry.borderBoxSize[0].blockSize;
  const known = list.itemSizeCache.get(list.options.getItemKey(list.indexFromElement(element)));
  return known ?? element.getBoundingClientRect().height;
}

/**
 * Whether a row whose height changes moves the rows in view.
 *
 * The library's own rule leaves out rows that change while the reader scrolls up, which would move rows in the flow of the
 * document: the first row loses its day heading when an older page comes.
 */
function isAbove({ key, start, end }: VirtualItem, _delta: number, list: List) {
  const top = list.scrollOffset ?? 0;
  return end <= top || (start < top && !list.itemSizeCache.has(key));
}

/** Before they are painted: the observer of a row that is rendered after a measurement reports its height a frame later. */
function measureNew(list: List, indexes: number[]) {
  const heights = indexes.flatMap((index) => {
    const key = list.options.getItemKey(index);
    const element = list.itemSizeCache.has(key) ? undefined : list.elementsCache.get(key);
    return element ? [[index, heightOf(element, undefined, list)]] : [];
  });
  for (const [index, height] of heights) list.resizeItem(index, height);
}

const wanted = ({ startIndex, endIndex, overscan, count }: Range, keep: number[]): Wanted => ({
  first: startIndex,
  last: endIndex,
  from: Math.max(0, startIndex - overscan),
  to: Math.min(count - 1, endIndex + overscan),
  keep: keep.filter((index) => index >= 0 && index < count),
});

/** Drops the heights of rows that are gone: there is one for each row that was ever shown. */
function forgetSizes(list: List, keys: string[]) {
  if (list.itemSizeCache.size <= keys.length * 2) return;
  const present: Set<unknown> = new Set(keys);
  for (const key of list.itemSizeCache.keys()) if (!present.has(key)) list.itemSizeCache.delete(key);
}
