// Errors in the chosen language. In English, they are the server's own words.
import { ApiError } from "../http";
import { catalogue } from "./index";

/** @param message the server's words */
export function errorMessage(code: string, message: string): string {
  const { codes } = catalogue.value ?? {};
  return codes ? (codes[code] ?? codes.UNKNOWN) : message;
}

export const messageOf = (error: Error) =>
  error instanceof ApiError ? errorMessage(error.code, error.message) : error.message;

/**
 * An error at a field.
 *
 * @param problem the server's words, such as "must be 5 to 128 characters", or a sentence
 */
export function fieldErrorMessage(label: string, problem: string): string {
  if (!/^[a-z]/.test(problem)) return problem;
  const { fields } = catalogue.value ?? {};
  if (fields) return fields[problem] ?? fields.other;
  return `${label} ${problem}${problem.endsWith(".") ? "" : "."}`;
}
