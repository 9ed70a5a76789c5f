// The number of unread notifications in the icon of the tab and of the installed app.
import { effect } from "@preact/signals";
import { notifications } from "./state/notifications";

const MAX_SHOWN = 9;
const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
const plain = link?.href ?? "";

function withCount(count: number) {
  const text = count > MAX_SHOWN ? `${MAX_SHOWN}+` : String(count);
  const badge =
    `<circle cx='22' cy='10' r='10' fill='#d1343f'/>` +
    `<text x='22' y='15' text-anchor='middle' fill='#fff' font-family='sans-serif' font-weight='700' font-size='14'>${text}</text>`;
  return plain.replace(/%3C\/svg%3E$/i, `${encodeURIComponent(badge)}%3C/svg%3E`);
}

/** @returns stops, and removes the badge */
export function showBadge(): () => void {
  const draw = (count: number) => {
    if (link) link.href = count ? withCount(count) : plain;
    if ("setAppBadge" in navigator) void navigator.setAppBadge(count).catch(() => {});
  };
  const stop = effect(() => draw(notifications.value?.length ?? 0));
  return () => {
    stop();
    draw(0);
  };
}
