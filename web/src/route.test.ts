import { expect, test } from "vitest";
import { goToMessage, leaveMessage, openChannelId, wantedMessage } from "./route";

async function open(hash: string) {
  location.hash = hash;
  dispatchEvent(new Event("hashchange"));
}

test("an address names a channel, or a message in it", async () => {
  await open("#/channels/a-1");
  expect([openChannelId.value, wantedMessage.value]).toEqual(["a-1", null]);
  await open("#/channels/a-1/17");
  expect([openChannelId.value, wantedMessage.value]).toEqual(["a-1", { channelId: "a-1", seq: 17 }]);
  for (const odd of ["", "#/channels/", "#/channels/a/x", "#/channels/a/1/2", `#/channels/a/${"9".repeat(400)}`]) {
    await open(odd);
    expect([openChannelId.value, wantedMessage.value]).toEqual([null, null]);
  }
});

test("the same link works again, and leaving the message leaves the channel open", async () => {
  await open("#/channels/a/17");
  wantedMessage.value = null;
  goToMessage("a", 17);
  expect(wantedMessage.value).toEqual({ channelId: "a", seq: 17 });
  leaveMessage();
  expect([location.hash, openChannelId.value]).toEqual(["#/channels/a", "a"]);
});
