// The language and the theme, which this browser keeps.
import { useId } from "preact/hooks";
import { chooseLanguage, language, LANGUAGES, t } from "../i18n";
import { toastError } from "../state/toasts";
import { chooseTheme, theme } from "../theme";
import { Dialog } from "./dialog";
import type { Language } from "../i18n";
import type { Theme } from "../theme";

export function Settings() {
  const themes: Record<Theme, string> = { system: t("As the system"), dark: t("Dark"), light: t("Light") };
  return (
    <Dialog title={t("Settings")}>
      <div class="settings">
        <LanguageChoice />
        <Choice label={t("Theme")} value={theme.value} options={themes} onChoice={chooseTheme} />
      </div>
    </Dialog>
  );
}

/** In both languages, for those who cannot read the present one. */
const LABEL = "Language · 언어";

export const LanguageChoice = () => (
  <Choice
    label={LABEL}
    value={language.value}
    options={LANGUAGES}
    onChoice={(chosen: Language) => chooseLanguage(chosen).catch(toastError)}
  />
);

function Choice<Value extends string>({
  label,
  value,
  options,
  onChoice,
}: {
  label: string;
  value: Value;
  options: Record<Value, string>;
  onChoice: (value: Value) => unknown;
}) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={({ currentTarget }) => onChoice(currentTarget.value as Value)}>
        {Object.entries<string>(options).map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}
