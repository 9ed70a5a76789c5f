// Forms: one request at a time, with errors shown at their fields.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../http";
import { errorMessage, fieldErrorMessage, messageOf } from "../i18n/errors";

/** Errors of one field that have a code of their own, by the names that the field has in requests. */
const FIELDS_OF_CODES: Record<string, string[]> = {
  USERNAME_TAKEN: ["username", "newUsername"],
  EMAIL_TAKEN: ["email", "newEmail"],
  REAUTHENTICATION_REQUIRED: ["currentPassword"],
};

/**
 * @param submit `isShown`: false when the user has closed the form during the request. The user does something else then, and must not be interrupted
 */
export function useForm(submit: (values: Record<string, string>, isShown: () => boolean) => Promise<unknown>): {
  busy: boolean;
  error: ApiError | Error | null;
  fieldErrors: Record<string, string>;
  onSubmit: (event: SubmitEvent) => Promise<void>;
  clear: () => void;
} {
  const [busy, setBusy] = useState(false);
  const shown = useRef(true);
  useEffect(() => () => void (shown.current = false), []);
  const [error, setError] = useState<ApiError | Error | null>(null);
  /** The last error stands at a field, which has the focus. */
  const [atField, setAtField] = useState(false);
  const element = useRef<HTMLFormElement | null>(null);
  useLayoutEffect(() => {
    const wrong = error && (element.current?.querySelector('[aria-invalid="true"]') as HTMLElement | null);
    setAtField(Boolean(wrong));
    wrong?.focus();
  }, [error]);

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy) return;
    const form = event.currentTarget as HTMLFormElement;
    element.current = form;
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
    setBusy(true);
    setError(null);
    try {
      await submit(values, () => shown.current);
    } catch (caught) {
      if (!(caught instanceof ApiError)) console.error(caught);
      setError(caught instanceof Error ? caught : new Error(String(caught)));
    }
    setBusy(false);
  };

  return {
    busy,
    error: atField ? null : error,
    fieldErrors: error instanceof ApiError ? fieldErrorsOf(error) : {},
    onSubmit,
    clear: () => setError(null),
  };
}

function fieldErrorsOf({ code, message, details }: ApiError): Record<string, string> {
  const fields = FIELDS_OF_CODES[code] ?? [];
  return { ...details, ...Object.fromEntries(fields.map((field) => [field, errorMessage(code, message)])) };
}

export function Field({
  label,
  name,
  type = "text",
  value = "",
  hint,
  fieldError,
  autofocus,
  multiline,
  ...rest
}: {
  label: string;
  name: string;
  type?: "text" | "email" | "password";
  value?: string;
  hint?: string;
  fieldError?: unknown;
  autocomplete?: string;
  required?: boolean;
  maxlength?: number;
  autofocus?: boolean;
  multiline?: boolean;
}) {
  const id = useId();
  const wrong = typeof fieldError === "string";
  const attributes = {
    id,
    name,
    defaultValue: value,
    "aria-invalid": wrong,
    "aria-describedby": wrong || hint ? `${id}-note` : undefined,
    "data-autofocus": autofocus,
    ...rest,
  };
  // "text": the types of JSX have one variant of the attributes for each type of input.
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {multiline ? <textarea rows={3} {...attributes} /> : <input type={type as "text"} {...attributes} />}
      {(wrong || hint) && (
        <p id={`${id}-note`} class={wrong ? "note wrong" : "note"}>
          {wrong ? fieldErrorMessage(label, fieldError) : hint}
        </p>
      )}
    </div>
  );
}

export function FormError({ error }: { error: Error | null }) {
  return <div role="alert">{error && <p class="form-error">{messageOf(error)}</p>}</div>;
}
