// Which side panels are open. On a narrow screen they lie over the messages, one at a time.
import { signal } from "@preact/signals";
import { stored } from "../storage";

const MEMBERS = "discodeit.members";
const narrow = matchMedia("(max-width: 1023px)");

export const drawer = signal<"channels" | "members" | null>(null);
/** Whether the member list stands beside the messages on a wide screen. */
export const membersBeside = signal(stored.get(MEMBERS) !== "hidden");

/** The search, beside the messages in place of the members; on a narrow screen, over them. */
export const searchOpen = signal(false);

export const closeDrawer = () => (drawer.value = null);
export const openChannelsDrawer = () => (drawer.value = "channels");

export function toggleMembers() {
  if (narrow.matches) {
    drawer.value = drawer.peek() === "members" ? null : "members";
    return;
  }
  // The members are behind the search.
  membersBeside.value = searchOpen.peek() || !membersBeside.peek();
  searchOpen.value = false;
  stored.set(MEMBERS, membersBeside.peek() ? "shown" : "hidden");
}

addEventListener("hashchange", () => {
  closeDrawer();
  // The found message would be behind it.
  if (narrow.matches) searchOpen.value = false;
});
narrow.addEventListener("change", closeDrawer);
