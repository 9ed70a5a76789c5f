import assert from "node:assert/strict";
import { test } from "node:test";
import { isTransientCode, isTransientStatus } from "./decisions.js";

test("what may succeed later is tried again, and what the server has refused is not", () => {
  assert.deepEqual(
    [0, 429, 502, 503, 504].filter((status) => !isTransientStatus(status)),
    [],
  );
  assert.deepEqual([200, 400, 401, 403, 404, 409, 413, 500, 501].filter(isTransientStatus), []);
  assert.ok(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS", "INTERNAL_ERROR"].every(isTransientCode));
  assert.ok(!["INVALID_INPUT", "CHANNEL_NOT_FOUND", "FORBIDDEN", "UNAUTHENTICATED"].some(isTransientCode));
});
