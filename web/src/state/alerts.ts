// Desktop notifications and a sound for notifications that nobody reads at once. One of the user's tabs gives them.
import { effect, signal, untracked } from "@preact/signals";
import { channels } from "./channels";
import { prepareParser, withoutSpoilers } from "./markdown";
import { notifications } from "./notifications";
import { goToChannel } from "../route";
import { stored } from "../storage";
import type { Notification as News } from "../types";

/** A tab that shows the channel dismisses the notification within this time. */
const READ_AT_ONCE_MS = 1_000;
/** Time for all tabs to hear of a notification. */
const CLAIM_MS = 5_000;
/** Time for the sound output to start. */
const SOUND_START_MS = 5_000;
const CLAIM = "discodeit.alerted";

/** A choice that this browser keeps. */
function kept(key: string, otherwise: boolean) {
  const read = () => (stored.get(key) ?? (otherwise ? "on" : "off")) === "on";
  const choice = signal(read());
  addEventListener("storage", (event) => event.key === key && (choice.value = read()));
  const choose = (on: boolean) => {
    stored.set(key, on ? "on" : "off");
    choice.value = on;
  };
  return [choice, choose] as const;
}

export const [desktopAlerts, setDesktopAlerts] = kept("discodeit.desktop-notifications", false);
export const [soundAlerts, setSoundAlerts] = kept("discodeit.sound", true);

/** "missing": an old browser, a phone, or a page without HTTPS. */
export const permission = (): NotificationPermission | "missing" =>
  "Notification" in globalThis && isSecureContext ? Notification.permission : "missing";

/** Asks for the permission, when the user turns desktop notifications on. */
export async function allowDesktopAlerts(): Promise<void> {
  if (permission() === "missing") return;
  if ((await Notification.requestPermission()) === "granted") setDesktopAlerts(true);
}

/** Those on the desktop, by the id of the notification. */
const shown: Map<string, Notification> = new Map();

/** @param news just received */
export function alertTo(news: News): void {
  if (news.type !== "NEW_MESSAGE") return;
  // Loaded meanwhile, the parser knows which part of the text is a spoiler.
  void prepareParser([news.content]);
  setTimeout(async () => {
    const unread = () => notifications.peek()?.some(({ id }) => id === news.id);
    if (!unread() || !(await claim(news.id))) return;
    if (soundAlerts.peek()) void playSound();
    if (desktopAlerts.peek() && permission() === "granted") showOnDesktop(news);
  }, READ_AT_ONCE_MS);
}

/** @returns whether no other tab has alerted the user to this notification */
function claim(id: string): Promise<boolean> {
  // Plain HTTP has no locks, and no desktop notifications either: in the worst case, two tabs sound.
  if (!navigator.locks) {
    const first = stored.get(CLAIM) !== id;
    stored.set(CLAIM, id);
    return Promise.resolve(first);
  }
  return new Promise((resolve) => {
    void navigator.locks.request(`${CLAIM} ${id}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise((free) => setTimeout(free, CLAIM_MS));
    });
  });
}

function showOnDesktop({ id, title, content, targetId }: News) {
  try {
    const news = new Notification(title, {
      body: withoutSpoilers(content),
      tag: id,
      icon: "/icon-192.png",
      silent: true,
    });
    news.onclick = () => {
      focus();
      if (targetId && channels.peek()?.some((channel) => channel.id === targetId)) goToChannel(targetId);
      news.close();
    };
    news.onclose = () => shown.delete(id);
    shown.set(id, news);
  } catch (error) {
    // Chrome on Android shows notifications only from a service worker.
    console.warn("a desktop notification failed:", error);
  }
}

/** Two short tones. */
async function playSound() {
  // A page without a click or a key cannot sound.
  if (navigator.userActivation?.hasBeenActive === false) return;
  const context = new AudioContext();
  await Promise.race([context.resume(), new Promise((resolve) => setTimeout(resolve, SOUND_START_MS))]);
  if (context.state !== "running") return void context.close();
  const now = context.currentTime;
  for (const [after, frequency] of [
    [0, 660],
    [0.1, 880],
  ]) {
    const tone = new OscillatorNode(context, { frequency });
    const volume = new GainNode(context, { gain: 0 });
    volume.gain.setValueAtTime(0, now + after);
    volume.gain.linearRampToValueAtTime(0.1, now + after + 0.01);
    volume.gain.exponentialRampToValueAtTime(0.001, now + after + 0.25);
    tone.connect(volume).connect(context.destination);
    tone.start(now + after);
    tone.stop(now + after + 0.26);
    tone.onended = () => after && context.close();
  }
}

/** Takes from the desktop what was read or dismissed anywhere. @returns stops */
export function closeAlerts(): () => void {
  const stop = effect(() => {
    const unread = new Set(notifications.value?.map(({ id }) => id));
    untracked(() => {
      for (const [id, news] of shown) if (!unread.has(id)) news.close();
    });
  });
  return () => {
    stop();
    for (const news of shown.values()) news.close();
  };
}
