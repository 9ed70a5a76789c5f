import { beforeEach, expect, test } from "vitest";
import { me } from "../session";
import { channels, channelTitle, findPrivateChannel, forgetCompanions, isGroup, rememberCompanions } from "./channels";
import { people } from "./people";
import type { Channel, User } from "../types";

const user = (id: string): User => ({ id, username: id, email: "", online: null, role: "USER" });
const conversation = (id: string, others: string[], name: string | null = null) =>
  ({ id, name, type: "PRIVATE", participants: ["ann", ...others].map(user), lastMessageAt: "" }) as unknown as Channel;

beforeEach(() => {
  localStorage.clear();
  me.value = user("ann");
  people.value = null;
  channels.value = null;
});

test("a private channel is named by its name, or by the people in it as they are called now", () => {
  expect(channelTitle(conversation("a", ["ben", "cem"]))).toBe("ben, cem");
  people.value = new Map([["ben", { ...user("ben"), username: "Benjamin" }]]);
  expect(channelTitle(conversation("a", ["ben", "cem"]))).toBe("Benjamin, cem");
  expect(channelTitle(conversation("a", ["ben", "cem"], "Lunch"))).toBe("Lunch");
});

test("a conversation keeps the name of somebody who is gone, also after a reload, and not for another user", () => {
  channels.value = [conversation("a", ["ben"])];
  const end = rememberCompanions("ann");
  channels.value = [conversation("a", [])];
  expect(channelTitle(channels.value[0])).toBe("ben (gone)");
  end();
  rememberCompanions("eve")();
  expect(channelTitle(conversation("a", []))).toBe("Nobody else");
  rememberCompanions("ann")();
  expect(channelTitle(conversation("a", []))).toBe("ben (gone)");
  forgetCompanions("ann");
  rememberCompanions("ann")();
  expect(channelTitle(conversation("a", []))).toBe("Nobody else");
});

test("names of a conversation that is lost are not kept, and a damaged record is none", () => {
  const end = rememberCompanions("ann");
  channels.value = [conversation("a", ["ben"]), conversation("b", ["cem"])];
  channels.value = [conversation("b", [])];
  end();
  expect(JSON.parse(localStorage.getItem("discodeit.companions.ann") ?? "")).toEqual({ b: ["cem"] });
  localStorage.setItem("discodeit.companions.ann", "{");
  rememberCompanions("ann")();
  expect(channelTitle(conversation("b", []))).toBe("Nobody else");
});

test("only a conversation without a name is that of exactly these people", () => {
  channels.value = [conversation("a", ["ben", "cem"], "Lunch"), conversation("b", ["ben"])];
  expect(findPrivateChannel(["ben", "cem"])).toBe(undefined);
  expect(findPrivateChannel(["ben"])?.id).toBe("b");
  channels.value = [...channels.value, conversation("c", ["cem", "ben"])];
  expect(findPrivateChannel(["ben", "cem"])?.id).toBe("c");
});

test("a group has three people or more", () => {
  expect([[], ["ben"], ["ben", "cem"]].map((others) => isGroup(conversation("a", others)))).toEqual([
    false,
    false,
    true,
  ]);
});
