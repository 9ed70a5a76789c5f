import { beforeEach, expect, test } from "vitest";
import { openChannelId } from "../route";
import { me } from "../session";
import { channels } from "./channels";
import { watchMembership } from "./membership";
import { toasts } from "./toasts";
import type { Channel, User } from "../types";

const user = (id: string): User => ({ id, username: id, email: "", online: null, role: "USER" });
const conversation = (id: string, others: string[], name: string | null = null) =>
  ({ id, name, type: "PRIVATE", participants: ["ann", ...others].map(user), lastMessageAt: "" }) as unknown as Channel;
const said = () => toasts.value.map(({ text }) => text);

beforeEach(() => {
  me.value = user("ann");
  toasts.value = [];
  channels.value = [conversation("a", ["ben", "cem"]), conversation("b", ["ben", "cem"])];
  openChannelId.value = "a";
});

test("says who joins and leaves the open conversation, and its new name", () => {
  const end = watchMembership();
  channels.value = [conversation("a", ["cem", "dee"], "Lunch")];
  expect(said()).toEqual([
    "dee is now in this conversation.",
    "ben is no longer in this conversation.",
    "This conversation is now called “Lunch”.",
  ]);
  end();
});

test("says nothing of other conversations, on opening another one, or of an equal list", () => {
  const end = watchMembership();
  channels.value = [conversation("a", ["ben", "cem"]), conversation("b", ["ben"], "Dinner")];
  openChannelId.value = "b";
  channels.value = [...channels.value];
  expect(said()).toEqual([]);
  end();
});
