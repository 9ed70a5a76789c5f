// Says who joins and leaves the open private channel, and its new name.
import { effect, untracked } from "@preact/signals";
import { t } from "../i18n";
import { me } from "../session";
import { openChannel } from "./channels";
import { people } from "./people";
import { toast } from "./toasts";
import type { Channel } from "../types";

/** @returns stops */
export function watchMembership(): () => void {
  let before: Channel | null = null;
  return effect(() => {
    const now = openChannel.value;
    untracked(() => {
      if (now?.type === "PRIVATE" && before?.id === now.id) for (const text of changes(before, now)) toast(text);
    });
    before = now;
  });
}

function changes(before: Channel, now: Channel): string[] {
  const name = (id: string, channel: Channel) =>
    people.value?.get(id)?.username ?? channel.participants.find((user) => user.id === id)?.username ?? "";
  const others = ({ participants }: Channel) =>
    new Set(participants.map(({ id }) => id).filter((id) => id !== me.value?.id));
  const [earlier, later] = [others(before), others(now)];
  return [
    ...[...later]
      .filter((id) => !earlier.has(id))
      .map((id) => t("{name} is now in this conversation.", { name: name(id, now) })),
    ...[...earlier]
      .filter((id) => !later.has(id))
      .map((id) => t("{name} is no longer in this conversation.", { name: name(id, before) })),
    ...(now.name && now.name !== before.name
      ? [t("This conversation is now called “{name}”.", { name: now.name })]
      : []),
  ];
}
