// Dialogs in chunks of their own, which are loaded when first opened.
import { t } from "../i18n";
import { toast } from "../state/toasts";
import { openDialog } from "./dialog";
import type { ComponentChildren } from "preact";
import type { BinaryContent, Channel } from "../types";

async function loaded<Chunk>(load: () => Promise<Chunk>, use: (chunk: Chunk) => void) {
  const chunk = await load().catch(() => null);
  if (chunk) use(chunk);
  // No connection, or a newer version on the server.
  else toast(t("This part of the app could not be loaded. Try again, or reload the page."), "error");
}

const open = <Chunk,>(load: () => Promise<Chunk>, render: (chunk: Chunk) => ComponentChildren) =>
  loaded(load, (chunk) => openDialog(render(chunk)));

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

const channelDialogs = () => import("./channel-dialogs");

export const openCreateChannel = () => open(channelDialogs, ({ CreateChannel }) => <CreateChannel />);

/** @param channel a public one */
export const openEditChannel = (channel: Channel) =>
  open(channelDialogs, ({ EditChannel }) => <EditChannel channel={channel} />);

export const askToDeleteChannel = (channel: Channel) =>
  loaded(channelDialogs, ({ askToDelete }) => askToDelete(channel));

/** @param channel a private one */
export const askToLeave = (channel: Channel) => loaded(channelDialogs, (chunk) => chunk.askToLeave(channel));

/** @param first the index of the one that is shown at first */
export const openLightbox = (files: BinaryContent[], first: number) =>
  open(
    () => import("./lightbox"),
    ({ Lightbox }) => <Lightbox files={files} first={first} />,
  );
