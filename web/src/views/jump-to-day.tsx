import { t } from "../i18n";
import { now } from "../clock";
import { current } from "../state/conversations";
import { jumpTo } from "../state/jump";
import { closeDialog, Dialog, DialogActions } from "./dialog";

/** A local day as in "2026-01-31". */
function dayOf(instant: number) {
  const date = new Date(instant);
  const part = (number: number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${part(date.getMonth() + 1)}-${part(date.getDate())}`;
}

export function JumpToDay() {
  const today = dayOf(now());
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const day = new FormData(event.currentTarget as HTMLFormElement).get("day");
    const timeline = current.peek();
    closeDialog();
    if (timeline && day) void jumpTo(timeline, { day: String(day) });
  };
  return (
    <Dialog title={t("Jump to a date")}>
      <form onSubmit={onSubmit}>
        <div class="field">
          <label for="jump-day">{t("Date")}</label>
          <input id="jump-day" name="day" type="date" required max={today} defaultValue={today} data-autofocus />
        </div>
        <DialogActions action={t("Jump")} />
      </form>
    </Dialog>
  );
}
