// What views are made of, in one place, so that no view knows where the libraries lie.
export { html } from "../vendor/htm-preact.js";
export { Component, createRef, render } from "../vendor/preact.js";
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
export { batch, computed, effect, signal, untracked, useComputed, useSignal } from "../vendor/signals.js";
