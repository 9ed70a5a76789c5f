// Shown in place of a conversation that the user has lost, with the unsent message, which can be copied but not sent.
import { useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { channelTitle } from "../state/channels";
import { discardDraft, draftOf } from "../state/drafts";
import { lostChannel } from "../state/lost";
import { DropZone } from "./drop-zone";
import { Topbar } from "./empty";
import { ChatIcon } from "./icons";
import { Tray } from "./tray";
import type { Attachment } from "../state/attachments";
import type { Channel } from "../types";

export function Lost({ channelId }: { channelId: string }) {
  const channel = lostChannel(channelId);
  const { text, files } = draftOf(channelId);
  const [heading, reason] = explanation(channel);
  return (
    <>
      <Topbar title={channel ? channelTitle(channel) : ""} />
      <DropZone into={null} />
      <div class="empty">
        <span class="emblem">
          <ChatIcon />
        </span>
        <div role="alert">
          <h2>{heading}</h2>
          <p>{reason}</p>
        </div>
        {(text !== "" || files.length > 0) && <Unsent channelId={channelId} text={text} files={files} />}
      </div>
    </>
  );
}

/** @param channel null when it was not there from the start */
function explanation(channel: Channel | null) {
  if (!channel) return [t("This conversation is not available"), t("It was deleted, or you are not in it.")];
  if (channel.type === "PUBLIC") return [t("This channel is gone"), t("It was deleted.")];
  return [t("This conversation is gone"), t("It was deleted, or you are no longer in it.")];
}

function Unsent({ channelId, text, files }: { channelId: string; text: string; files: Attachment[] }) {
  const area = useRef<HTMLTextAreaElement | null>(null);
  const [copied, setCopied] = useState(false);
  const copy = () => {
    area.current?.select();
    // navigator.clipboard needs a secure origin, and a private server may use plain HTTP.
    setCopied(document.execCommand("copy"));
  };
  return (
    <section class="unsent" aria-label={t("Unsent message")}>
      <p>
        {files.length > 0
          ? t("Your message was not sent. Its text stays here until you sign out, its files until you close the page.")
          : t("Your message was not sent. Its text stays here until you sign out.")}
      </p>
      {text !== "" && (
        <textarea ref={area} readonly rows={5} dir="auto" aria-label={t("Your unsent message")} value={text} />
      )}
      {files.length > 0 && <Tray channelId={channelId} files={files} onEmpty={() => {}} />}
      <div class="row">
        {text !== "" && (
          <button type="button" class="primary" onClick={copy}>
            {copied ? t("Copied") : t("Copy text")}
          </button>
        )}
        <button type="button" class="quiet" onClick={() => discardDraft(channelId)}>
          {t("Discard")}
        </button>
      </div>
    </section>
  );
}
