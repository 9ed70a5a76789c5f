// The language, the theme and the ways of notifying, which this browser keeps.
import { useId, useState } from "preact/hooks";
import { t } from "../i18n";
import {
  allowDesktopAlerts,
  desktopAlerts,
  permission,
  setDesktopAlerts,
  setSoundAlerts,
  soundAlerts,
} from "../state/alerts";
import { chooseTheme, theme } from "../theme";
import { Choice, LanguageChoice } from "./choice";
import { Dialog } from "./dialog";
import type { Theme } from "../theme";

export function Settings() {
  const themes: Record<Theme, string> = { system: t("As the system"), dark: t("Dark"), light: t("Light") };
  return (
    <Dialog title={t("Settings")}>
      <div class="settings">
        <LanguageChoice />
        <Choice label={t("Theme")} value={theme.value} options={themes} onChoice={chooseTheme} />
        <h3>{t("Notifications")}</h3>
        <DesktopSwitch />
        <Switch label={t("Sound")} on={soundAlerts.value} onToggle={setSoundAlerts} />
        <p class="note">{t("The options of a channel decide which of its messages notify you.")}</p>
      </div>
    </Dialog>
  );
}

/** Asks the browser for the permission when it is turned on, not before. */
function DesktopSwitch() {
  const [allowed, setAllowed] = useState(permission());
  const toggle = async (on: boolean) => {
    if (on) await allowDesktopAlerts();
    else setDesktopAlerts(false);
    setAllowed(permission());
  };
  const obstacle =
    allowed === "missing"
      ? t("This browser has no desktop notifications here. They need HTTPS.")
      : t("This browser blocks notifications of this page. Allow them in its settings for the page.");
  return (
    <Switch
      label={t("Desktop notifications")}
      on={desktopAlerts.value && allowed === "granted"}
      onToggle={toggle}
      hint={allowed === "missing" || allowed === "denied" ? obstacle : undefined}
    />
  );
}

function Switch({
  label,
  on,
  onToggle,
  hint,
}: {
  label: string;
  on: boolean;
  onToggle: (on: boolean) => unknown;
  hint?: string;
}) {
  const id = useId();
  return (
    <div class="setting">
      <button
        type="button"
        class="menu-item switch"
        role="switch"
        aria-checked={on}
        aria-labelledby={id}
        aria-describedby={`${id}-hint`}
        onClick={() => onToggle(!on)}
      >
        <span id={id}>{label}</span>
        <span class="track" aria-hidden="true" />
      </button>
      <p id={`${id}-hint`} class="note" role="status">
        {hint}
      </p>
    </div>
  );
}
