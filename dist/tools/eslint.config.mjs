// Rejects regular expressions that take more than linear time on some text, so that no text can freeze a reader's tab.
import redos from "eslint-plugin-redos";

export default [
  {
    files: ["app/**/*.js"],
    plugins: { redos },
    linterOptions: { noInlineConfig: true },
    rules: {
      // A pattern that the analysis cannot decide is an error too.
      "redos/no-vulnerable": ["error", { ignoreErrors: false, timeout: 60_000 }],
      "no-restricted-globals": ["error", { name: "RegExp", message: "Write a literal, because the analysis reads only literals." }],
    },
  },
];
