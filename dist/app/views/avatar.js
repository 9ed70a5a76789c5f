import { latest, pictureSource } from "../state/files.js";
import { html, useState } from "../ui.js";

const graphemes = "Segmenter" in Intl ? new Intl.Segmenter() : null;

/** The first letter of the first two words, or the first letter of the only one. @param {string} name */
function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  return (words.length ? words : [name]).slice(0, 2).map(firstLetter).join("").toUpperCase();
}

/** @param {string} word */
function firstLetter(word) {
  const first = graphemes?.segment(word)[Symbol.iterator]().next().value;
  return first ? first.segment : [...word][0];
}

/** Distinguishable hues, without yellows, which look muddy at this lightness. */
const HUES = [18, 45, 148, 172, 205, 238, 262, 290, 318, 345];

/** A stable colour per user: each hue has two tones. @param {string} id */
function colour(id) {
  // FNV-1a, folded, because consecutive ids differ in few digits.
  let hash = 0x811c9dc5;
  for (const character of id) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  const pick = ((hash ^ (hash >>> 15)) >>> 0) % (HUES.length * 2);
  return { "--hue": HUES[pick >> 1], "--tone": pick & 1 ? -0.1 : 0 };
}

/**
 * @param {{user: import("../types.js").User | null, size?: "small" | "normal" | "large", presence?: boolean}} props
 */
export function Avatar({ user, size = "normal", presence = false }) {
  // The URL that failed to load; another one may load.
  const [broken, setBroken] = useState(/** @type {string | null} */ (null));
  if (!user) return html`<span class=${`avatar ${size} nobody`} aria-hidden="true">?</span>`;
  const state = presence && user.online !== null ? (user.online ? "online" : "offline") : "";
  const source = user.profile ? pictureSource(latest(user.profile)) : null;
  return html`
    <span class=${`avatar ${size} ${state}`} style=${colour(user.id)} aria-hidden="true">
      ${source && source !== broken
        ? html`<img class="face" src=${source} alt="" draggable=${false} onError=${() => setBroken(source)} />`
        : html`<span class="face">${initials(user.username)}</span>`}
    </span>
  `;
}
