/** One class: alternatives that overlap would take exponential time on text that fails to match. */
const ONLY_EMOJI =
  /^[\s\p{Emoji_Presentation}\p{Extended_Pictographic}\p{Regional_Indicator}\p{Emoji_Modifier}\u200d\ufe0f]+$/u;
const MAX_EMOJI = 12;

/** Whether the text is a few emoji only, which are shown large. */
export const isOnlyEmoji = (content: string) =>
  content.length <= MAX_EMOJI * 2 && ONLY_EMOJI.test(content) && content.trim() !== "";
