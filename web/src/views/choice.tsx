// A choice of one of few, and the one of the language.
import { useId } from "preact/hooks";
import { chooseLanguage, language, LANGUAGES } from "../i18n";
import { toastError } from "../state/toasts";
import type { Language } from "../i18n";

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

export function Choice<Value extends string>({
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
