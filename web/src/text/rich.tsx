// A message's text as elements: code, links and plain text. Makes only text nodes and attributes, never markup from the
// message.
import type { ComponentChild } from "preact";

const FENCE = /```(?:[\w+#.-]{0,20}\n)?([\s\S]+?)\n?```\n?/g;
const CODE_OR_URL = /`([^`\n]+)`|https?:\/\/[^\s<>"`]+/gi;
/** Punctuation of the sentence around a link. */
const TRAILING = new Set(".,!?;:'\"…。、，！？；：」』】》〉");
const CLOSING = new Set(")]）");
/** One class: alternatives that overlap would take exponential time on text that fails to match. */
const ONLY_EMOJI =
  /^[\s\p{Emoji_Presentation}\p{Extended_Pictographic}\p{Regional_Indicator}\p{Emoji_Modifier}\u200d\ufe0f]+$/u;
const MAX_EMOJI = 12;

export function rich(content: string) {
  const parts: ComponentChild[] = [];
  let from = 0;
  for (const match of content.matchAll(FENCE)) {
    parts.push(
      ...inline(content.slice(from, match.index)),
      <pre class="code-block">
        <code>{match[1]}</code>
      </pre>,
    );
    from = match.index + match[0].length;
  }
  parts.push(...inline(content.slice(from)));
  return parts;
}

/** Whether the text is a few emoji only, which are shown large. */
export const isOnlyEmoji = (content: string) =>
  content.length <= MAX_EMOJI * 2 && ONLY_EMOJI.test(content) && content.trim() !== "";

function inline(text: string): ComponentChild[] {
  const parts: ComponentChild[] = [];
  let from = 0;
  for (const match of text.matchAll(CODE_OR_URL)) {
    const [whole, code] = match;
    parts.push(text.slice(from, match.index));
    from = match.index + whole.length;
    if (code !== undefined) {
      parts.push(<code>{code}</code>);
      continue;
    }
    const address = withoutTrailing(whole);
    parts.push(
      isLink(address) ? (
        <a href={address} target="_blank" rel="noopener noreferrer">
          {address}
        </a>
      ) : (
        address
      ),
    );
    parts.push(whole.slice(address.length));
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== "");
}

function withoutTrailing(url: string) {
  const authority = url.indexOf("//");
  const offset = url.slice(authority).search(/[([（]/);
  const opened = offset < 0 ? url.length : authority + offset;
  let end = url.length;
  // A closing bracket belongs to the link only if a bracket was opened inside it.
  while (TRAILING.has(url[end - 1]) || (CLOSING.has(url[end - 1]) && opened >= end)) end--;
  return url.slice(0, end);
}

function isLink(address: string) {
  if (!URL.canParse(address)) return false;
  const { protocol } = new URL(address);
  return protocol === "https:" || protocol === "http:";
}
