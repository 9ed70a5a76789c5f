import { useState } from "preact/hooks";
import { latest, pictureSource } from "../state/files";
import type { User } from "../types";

/** As in people.css, of the largest. */
const MAX_PX = 72;

const graphemes = "Segmenter" in Intl ? new Intl.Segmenter() : null;

/** The first letter of the first two words, or the first letter of the only one. */
function initials(name: string) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  return (words.length ? words : [name]).slice(0, 2).map(firstLetter).join("").toUpperCase();
}

function firstLetter(word: string) {
  const first = graphemes?.segment(word)[Symbol.iterator]().next().value;
  return first ? first.segment : [...word][0];
}

/** Distinguishable hues, without yellows, which look muddy at this lightness. */
const HUES = [18, 45, 148, 172, 205, 238, 262, 290, 318, 345];

/** A stable colour per user: each hue has two tones. */
function colour(id: string) {
  // FNV-1a, folded, because consecutive ids differ in few digits.
  let hash = 0x811c9dc5;
  for (const character of id) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  const pick = ((hash ^ (hash >>> 15)) >>> 0) % (HUES.length * 2);
  return { "--hue": HUES[pick >> 1], "--tone": pick & 1 ? -0.1 : 0 };
}

export function Avatar({
  user,
  size = "normal",
  presence = false,
}: {
  user: User | null;
  size?: "tiny" | "small" | "normal" | "large";
  presence?: boolean;
}) {
  // The URL that failed to load; another one may load.
  const [broken, setBroken] = useState<string | null>(null);
  if (!user)
    return (
      <span class={`avatar ${size} nobody`} aria-hidden="true">
        ?
      </span>
    );
  const state = presence && user.online !== null ? (user.online ? "online" : "offline") : "";
  const source = user.profile ? pictureSource(latest(user.profile), MAX_PX) : null;
  return (
    <span class={`avatar ${size} ${state}`} style={colour(user.id)} aria-hidden="true">
      {source && source !== broken ? (
        <img class="face" src={source} alt="" draggable={false} onError={() => setBroken(source)} />
      ) : (
        <span class="face">{initials(user.username)}</span>
      )}
    </span>
  );
}
