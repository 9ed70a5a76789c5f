// @vitest-environment node
import { ESLint } from "eslint";
import { expect, test } from "vitest";

/** An earlier test for emoji, which took exponential time. A check that accepts it checks nothing. */
const EXPONENTIAL = String.raw`/^(?:\s|\p{Emoji_Presentation}|\p{Extended_Pictographic}|\p{Regional_Indicator})+$/u.test("");`;

test("the lints reject a regular expression that takes exponential time", { timeout: 60_000 }, async () => {
  const [result] = await new ESLint().lintText(EXPONENTIAL, { filePath: "src/text/rich.tsx" });
  expect(result.messages.map(({ ruleId }) => ruleId)).toContain("redos/no-vulnerable");
});
