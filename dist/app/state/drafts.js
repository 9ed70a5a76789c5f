// What was being written in each channel when the reader went to another.

/** By channel id. @type {Map<string, string>} */
const drafts = new Map();

/** @param {string} channelId */
export const draftOf = (channelId) => drafts.get(channelId) ?? "";

/** @param {string} channelId @param {string} text */
export function keepDraft(channelId, text) {
  if (text) drafts.set(channelId, text);
  else drafts.delete(channelId);
}

export const forgetDrafts = () => drafts.clear();
