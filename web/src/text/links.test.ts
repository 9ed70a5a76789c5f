import { expect, test } from "vitest";
import { findLinks } from "./links";

const found = (text: string) => findLinks(text).map(({ start, end }) => text.slice(start, end));

test.each([
  ["see https://example.com/a?b=c#d.", "https://example.com/a?b=c#d"],
  ["(https://en.wikipedia.org/wiki/Foo_(bar)).", "https://en.wikipedia.org/wiki/Foo_(bar)"],
  ["https://en.wikipedia.org/wiki/Foo_(bar)를 보세요", "https://en.wikipedia.org/wiki/Foo_(bar)"],
  ["https://example.com을 보세요", "https://example.com"],
  ["https://example.com/docs에서 받으세요", "https://example.com/docs"],
  ["https://example.com/docs입니다.", "https://example.com/docs"],
  ["https://ko.wikipedia.org/wiki/서울", "https://ko.wikipedia.org/wiki/서울"],
  ["https://ko.wikipedia.org/wiki/C언어 문서", "https://ko.wikipedia.org/wiki/C언어"],
  ["「https://example.com」と「https://example.org/」", "https://example.com https://example.org/"],
  ["https://example.comを参照", "https://example.com"],
  ["链接https://example.com/页面，谢谢", "https://example.com/页面"],
  ["（https://example.com）", "https://example.com"],
  ["'https://example.com', \"https://example.org\"!", "https://example.com https://example.org"],
  ["www.example.com/a을 and WWW.example.org", "www.example.com/a WWW.example.org"],
  ["메일은 first.last+tag@mail.example.co.kr로 보내세요.", "first.last+tag@mail.example.co.kr"],
  ["mail a@b.com, or https://user@example.com/", "a@b.com https://user@example.com/"],
  ["http:// https://. www. www.x @b.com a@b xhttp://example.com", ""],
  ["javascript:alert(1) ftp://example.com", ""],
])("%s", (text, links) => {
  expect(found(text).join(" ")).toBe(links);
});

test("links without a scheme get one", () => {
  expect(findLinks("www.example.com a@b.com").map(({ href }) => href)).toEqual([
    "https://www.example.com",
    "mailto:a@b.com",
  ]);
});
