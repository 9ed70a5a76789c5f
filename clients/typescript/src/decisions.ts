// What to do after a failure: docs/protocol.md has the whole table.

/** The same message or request may succeed later. */
const TRANSIENT_CODES = new Set(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS", "INTERNAL_ERROR"]);

/** @param code of the error of a message or a request */
export const isTransientCode = (code: string) => TRANSIENT_CODES.has(code);

/** @param status of HTTP; 0 without a response */
export const isTransientStatus = (status: number) => status === 0 || status === 429 || (status >= 502 && status <= 504);
