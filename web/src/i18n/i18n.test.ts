import { afterEach, expect, test } from "vitest";
import { ApiError } from "../http";
import { ago, dayLabel } from "../text/time";
import { fieldErrorMessage, messageOf } from "./errors";
import { chooseLanguage, elements, language, list, plural, t } from "./index";
import korean from "./ko";

const sources: Record<string, string> = import.meta.glob(
  ["../**/*.ts", "../**/*.tsx", "!../**/*.test.ts", "!./ko.ts"],
  { query: "?raw", import: "default", eager: true },
);
const [server] = Object.values<string>(
  import.meta.glob("../../../src/problem.rs", { query: "?raw", import: "default", eager: true }),
);
const names = (sentence: string) => (sentence.match(/\{\w+\}/g) ?? []).sort();

afterEach(() => chooseLanguage("en"));

test("each Korean sentence is used, and has the values of the English one", () => {
  const all = Object.values(sources).join("\n");
  for (const [english, sentence] of Object.entries(korean.sentences)) {
    expect(all.includes(JSON.stringify(english)), `"${english}" is in no source`).toBe(true);
    expect(names(sentence), english).toEqual(names(english));
    expect(sentence, english).toMatch(/[가-힣]/);
  }
});

test("each error code is one of the server or of a request without an answer", () => {
  const known = new Set([...server.matchAll(/=> "([A-Z_]+)"/g)].map(([, code]) => code));
  for (const code of ["UNKNOWN", "NETWORK", "TIMEOUT", "CANCELLED"]) known.add(code);
  for (const code of Object.keys(korean.codes)) expect(known, code).toContain(code);
});

test("a choice changes the sentences, the page's language, and the next start", async () => {
  expect(t("Edit #{name}", { name: "talk" })).toBe("Edit #talk");
  await chooseLanguage("ko");
  expect(t("Edit #{name}", { name: "talk" })).toBe("#talk 편집");
  expect([document.documentElement.lang, localStorage.getItem("discodeit.language")]).toEqual(["ko", "ko"]);
  expect(language.value).toBe("ko");
});

test("the last of two choices stays", async () => {
  const first = chooseLanguage("ko");
  await Promise.all([first, chooseLanguage("en")]);
  expect(language.value).toBe("en");
});

test("a choice in another tab is followed", async () => {
  localStorage.setItem("discodeit.language", "ko");
  dispatchEvent(new StorageEvent("storage", { key: "discodeit.language" }));
  await expect.poll(() => language.value).toBe("ko");
});

test("values cannot add values", () => {
  expect(t("“{name}” is too large: a file can have {size} at most.", { name: "{size}", size: "10 MB" })).toBe(
    "“{size}” is too large: a file can have 10 MB at most.",
  );
});

test("plurals, lists, dates and ages follow the language", async () => {
  const count = (number: number) => plural(number, "{count} new message", "{count} new messages");
  const now = Date.parse("2026-03-10T12:00:00Z");
  const old = "2024-05-02T12:00:00Z";
  const hour = new Date(now - 3_600_000).toISOString();
  expect([count(1), count(1_200)]).toEqual(["1 new message", "1,200 new messages"]);
  expect(list(["a", "b", "c"])).toMatch(/^a, b,? and c$/);
  expect(ago(hour, now)).toMatch(/^1 hr\.? ago$/);
  expect(dayLabel(old)).toMatch(/May/);
  await chooseLanguage("ko");
  expect([count(1), count(1_200)]).toEqual(["새 메시지 1개", "새 메시지 1,200개"]);
  expect(list(["a", "b"])).toBe("a 및 b");
  expect(ago(hour, now)).toBe("1시간 전");
  expect(dayLabel(old)).toBe("2024년 5월 2일");
});

test("a sentence keeps its elements in the order of the language", async () => {
  expect(elements("{name} is typing…", { name: 1 })).toEqual(["", 1, " is typing…"]);
  await chooseLanguage("ko");
  expect(elements("{name} is typing…", { name: 1 })).toEqual(["", 1, " 님이 입력하고 있어요…"]);
});

test("errors are in the language; in English they are the server's words", async () => {
  const taken = new ApiError({ code: "USERNAME_TAKEN", message: "This username is taken." });
  const odd = new ApiError({ code: "ODD", message: "Odd." });
  expect([messageOf(taken), messageOf(odd)]).toEqual(["This username is taken.", "Odd."]);
  expect(fieldErrorMessage("Password", "must be 5 to 128 characters")).toBe("Password must be 5 to 128 characters.");
  await chooseLanguage("ko");
  expect([messageOf(taken), messageOf(odd)]).toEqual([korean.codes.USERNAME_TAKEN, korean.codes.UNKNOWN]);
  expect(fieldErrorMessage("비밀번호", "must be 5 to 128 characters")).toBe("5자에서 128자까지 입력하세요.");
  expect(fieldErrorMessage("비밀번호", "must be odd")).toBe(korean.fields.other);
  expect(fieldErrorMessage("사용자 이름", messageOf(taken))).toBe(korean.codes.USERNAME_TAKEN);
});
