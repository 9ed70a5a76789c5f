// Formats dates and times.
import { computed } from "@preact/signals";
import { now as serverNow } from "../clock";
import { locale, t } from "../i18n";

const formats = computed(() => {
  const date = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(locale.value, options);
  return {
    clock: date({ timeStyle: "short" }),
    exact: date({ dateStyle: "full", timeStyle: "medium" }),
    since: new Intl.RelativeTimeFormat(locale.value, { numeric: "auto", style: "short" }),
    shortDay: date({ day: "numeric", month: "short" }),
    thisYear: date({ weekday: "long", day: "numeric", month: "long" }),
    otherYear: date({ day: "numeric", month: "long", year: "numeric" }),
  };
});

/** "오전 2:09", "2:09 AM" or "02:09". */
export const timeOfDay = (instant: string) => formats.value.clock.format(Date.parse(instant));

/** Without "AM" and "PM", for a narrow column. */
export const shortTime = (instant: string) =>
  formats.value.clock
    .formatToParts(Date.parse(instant))
    .filter(({ type }) => type === "hour" || type === "minute")
    .map(({ value }) => value)
    .join(":");

export const exactTime = (instant: string) => formats.value.exact.format(Date.parse(instant));

/** A key of the local day. */
export const dayKey = (instant: string | number) => new Date(instant).toDateString();

/** @param now the key of the present day */
export function dayLabel(instant: string, now: string = dayKey(serverNow())) {
  const { thisYear, otherYear } = formats.value;
  const day = new Date(instant);
  const today = new Date(now);
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (day.toDateString() === now) return t("Today");
  if (day.toDateString() === yesterday.toDateString()) return t("Yesterday");
  return (day.getFullYear() === today.getFullYear() ? thisYear : otherYear).format(day);
}

/** The age in few words; the date after a week. */
export function ago(instant: string, now: number = serverNow()) {
  const { since, shortDay } = formats.value;
  const minutes = Math.floor((now - Date.parse(instant)) / 60_000);
  if (minutes < 1) return t("just now");
  if (minutes < 60) return since.format(-minutes, "minute");
  if (minutes < 24 * 60) return since.format(-Math.floor(minutes / 60), "hour");
  const days = Math.floor(minutes / (24 * 60));
  return days < 7 ? since.format(-days, "day") : shortDay.format(Date.parse(instant));
}
