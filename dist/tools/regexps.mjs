// Rejects regular expressions that take more than linear time on some text, so that no text can freeze a reader's tab.
import { ESLint } from "eslint";
import redos from "eslint-plugin-redos";

/** An earlier test for emoji, which took exponential time. A check that accepts it checks nothing. */
const EXPONENTIAL = String.raw`/^(?:\s|\p{Emoji_Presentation}|\p{Extended_Pictographic}|\p{Regional_Indicator})+$/u.test("");`;

const eslint = new ESLint({
  overrideConfigFile: true,
  overrideConfig: {
    files: ["app/**/*.js"],
    plugins: { redos },
    linterOptions: { noInlineConfig: true },
    rules: {
      // A pattern that the analysis cannot decide is an error too.
      "redos/no-vulnerable": ["error", { ignoreErrors: false, timeout: 60_000 }],
      "no-restricted-globals": ["error", { name: "RegExp", message: "Write a literal, because the analysis reads only literals." }],
    },
  },
});

const [known] = await eslint.lintText(EXPONENTIAL, { filePath: "app/text/rich.js" });
if (!known?.errorCount) throw new Error("the analysis accepts an expression that takes exponential time");
const results = await eslint.lintFiles("app");
const report = (await eslint.loadFormatter("stylish")).format(results);
if (report) {
  console.error(report);
  process.exit(1);
}
