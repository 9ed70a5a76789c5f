// Libraries of the views, imported here so that only one module has their paths.
export { html } from "../vendor/htm-preact.js";
export { Component, createRef, render } from "../vendor/preact.js";
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
export { batch, computed, effect, signal, untracked, useComputed, useSignal } from "../vendor/signals.js";
