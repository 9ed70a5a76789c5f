// Writes web/src/emoji/list.json from emojibase-data, which makes its names and words from CLDR of Unicode. The package has
// 49 MB, so it is no dependency.
//
//   npm pack emojibase-data@17.0.0 && tar xzf emojibase-data-17.0.0.tgz && node dev/emoji.mjs package
import { readFile, writeFile } from "node:fs/promises";

const MAX_VERSION = 15.1;
/** All but the parts of emoji, such as skin tones. */
const GROUPS = [0, 1, 3, 4, 5, 6, 7, 8, 9];

const read = async (language) => JSON.parse(await readFile(`${process.argv[2]}/${language}/data.json`, "utf8"));
const [english, korean] = [await read("en"), await read("ko")];
const inKorean = new Map(korean.map((each) => [each.hexcode, each]));

/** Without the mark of an emoji after what is one by itself, as keyboards write it. */
const qualified = (emoji) => emoji.replace(/(?<=\p{Emoji_Presentation})\ufe0f/gu, "");

const groups = GROUPS.map((group) =>
  english
    .filter((each) => each.group === group && each.version <= MAX_VERSION)
    .sort((a, b) => a.order - b.order)
    .map(({ hexcode, emoji, label, tags = [] }) => {
      const { label: name, tags: words = [] } = inKorean.get(hexcode);
      const more = new Set([...tags, ...words].map((word) => word.toLowerCase()));
      for (const word of more) if (label.toLowerCase().includes(word) || name.includes(word)) more.delete(word);
      return [qualified(emoji), label, name, [...more].join("|")];
    }),
);
const lines = groups.map((group) => `  [\n${group.map((each) => `    ${JSON.stringify(each)}`).join(",\n")}\n  ]`);
await writeFile(new URL("../web/src/emoji/list.json", import.meta.url), `[\n${lines.join(",\n")}\n]\n`);
