// Formats dates and times.
import { now as serverNow } from "../clock";

const LOCALE = navigator.languages.find((each) => each.startsWith("en")) ?? "en-GB";
const clock = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const since = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "short" });
const shortDay = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const thisYear = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long" });
const otherYear = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "long", year: "numeric" });

export const timeOfDay = (instant: string) => clock.format(Date.parse(instant));

/** Without "AM" and "PM", for a narrow column. */
export const shortTime = (instant: string) =>
  clock
    .formatToParts(Date.parse(instant))
    .filter(({ type }) => type === "hour" || type === "minute")
    .map(({ value }) => value)
    .join(":");

export const exactTime = (instant: string) => exact.format(Date.parse(instant));

/** A key of the local day. */
export const dayKey = (instant: string | number) => new Date(instant).toDateString();

/** @param now the key of the present day */
export function dayLabel(instant: string, now: string = dayKey(serverNow())) {
  const day = new Date(instant);
  const today = new Date(now);
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (day.toDateString() === now) return "Today";
  if (day.toDateString() === yesterday.toDateString()) return "Yesterday";
  return (day.getFullYear() === today.getFullYear() ? thisYear : otherYear).format(day);
}

/** The age in few words; the date after a week. */
export function ago(instant: string, now: number = serverNow()) {
  const minutes = Math.floor((now - Date.parse(instant)) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return since.format(-minutes, "minute");
  if (minutes < 24 * 60) return since.format(-Math.floor(minutes / 60), "hour");
  const days = Math.floor(minutes / (24 * 60));
  return days < 7 ? since.format(-days, "day") : shortDay.format(Date.parse(instant));
}
