// Dialogs in chunks of their own, which are loaded when first opened.
import { t } from "../i18n";
import { toast } from "../state/toasts";
import { openDialog } from "./dialog";
import type { ComponentChildren } from "preact";
import type { Channel } from "../types";

async function open<Chunk>(load: () => Promise<Chunk>, render: (chunk: Chunk) => ComponentChildren) {
  const chunk = await load().catch(() => null);
  if (chunk) openDialog(render(chunk));
  // No connection, or a newer version on the server.
  else toast(t("This part of the app could not be loaded. Try again, or reload the page."), "error");
}

export const openProfile = () =>
  open(
    () => import("./account"),
    ({ Profile }) => <Profile />,
  );

export const openSettings = () =>
  open(
    () => import("./settings"),
    ({ Settings }) => <Settings />,
  );

export const openSwitcher = () =>
  open(
    () => import("./switcher"),
    ({ Switcher }) => <Switcher />,
  );

/** @param userId whose page is open at first */
export const openAdministration = (userId?: string) =>
  open(
    () => import("./administration"),
    ({ Administration }) => <Administration userId={userId} />,
  );

export const openJumpToDay = () =>
  open(
    () => import("./jump-to-day"),
    ({ JumpToDay }) => <JumpToDay />,
  );

const privateDialogs = () => import("./private-dialogs");

/** @param chosen ids of those already picked */
export const openNewConversation = (chosen: string[] = []) =>
  open(privateDialogs, ({ NewConversation }) => <NewConversation key={chosen.join()} chosen={chosen} />);

/** @param channel a group */
export const openRename = (channel: Channel) =>
  open(privateDialogs, ({ RenameConversation }) => <RenameConversation channel={channel} />);

/** @param channel a group */
export const openAddPeople = (channel: Channel) =>
  open(privateDialogs, ({ AddPeople }) => <AddPeople channel={channel} />);
