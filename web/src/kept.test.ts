import { expect, test } from "vitest";
import { surplus } from "./kept";

test("the channels kept longest ago make room, and nothing else does", () => {
  const others = ["/kept/user", "/kept/channels"];
  const channels = Array.from({ length: 24 }, (_, number) => `/kept/messages/${number}`);
  expect(surplus([...others, ...channels.slice(0, 19)])).toEqual([]);
  expect(surplus([...others, ...channels.slice(0, 20)])).toEqual(channels.slice(0, 1));
  expect(surplus([...channels, ...others])).toEqual(channels.slice(0, 5));
});
