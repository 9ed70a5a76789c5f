// Mentions in a text: "@" and the name of a user. The server decides whom a message mentions (src/model/mention.rs); this
// finds where.

interface Named {
  id: string;
  username: string;
}

export interface Mention {
  start: number;
  end: number;
  userId: string;
}

/** As on the server. */
const MAX_MENTIONS = 10;
const MAX_NAME_LENGTH = 50;
const NAME_PART = /[\w-]/;

const key = (name: string) => name.normalize("NFKC").toLowerCase();

/** The places where the text names one of these users, in order; the longest name counts. */
export function findMentions(text: string, users: Named[]): Mention[] {
  const named = users
    .slice(0, MAX_MENTIONS)
    .map(({ id, username }) => ({ id, name: key(username), length: username.length }))
    .sort((a, b) => b.length - a.length);
  const found: Mention[] = [];
  // The server, too, looks at the first ones only.
  let left = named.length ? MAX_MENTIONS : 0;
  for (let at = text.indexOf("@"); at >= 0 && left > 0; at = text.indexOf("@", at + 1)) {
    if (NAME_PART.test(text[at - 1] ?? "") || /^\s?$/.test(text[at + 1] ?? "")) continue;
    left--;
    const user = named.find(({ name, length }) => {
      const end = at + 1 + length;
      const goesOn = NAME_PART.test(text[end - 1] ?? "") && NAME_PART.test(text[end] ?? "");
      return !goesOn && key(text.slice(at + 1, end)) === name;
    });
    if (!user) continue;
    found.push({ start: at, end: at + 1 + user.length, userId: user.id });
    at += user.length;
  }
  return found;
}

/** The beginning of a name that is being written: from after the "@" up to the cursor. */
export function nameBefore(text: string, cursor: number): { start: number; query: string } | null {
  const at = text.lastIndexOf("@", cursor - 1);
  if (at < 0 || cursor - at - 1 > MAX_NAME_LENGTH || NAME_PART.test(text[at - 1] ?? "")) return null;
  const query = text.slice(at + 1, cursor);
  return /^\s|\n/.test(query) ? null : { start: at, query };
}

/** Users whose name, or a word of it, begins with the text; those whose name begins with it first. */
export function matching<T extends Named>(users: T[], query: string, max: number): T[] {
  const wanted = key(query);
  const starts: T[] = [];
  const others: T[] = [];
  for (const user of users) {
    const name = key(user.username);
    if (name.startsWith(wanted)) starts.push(user);
    else if (name.includes(` ${wanted}`)) others.push(user);
  }
  return [...starts, ...others].slice(0, max);
}
