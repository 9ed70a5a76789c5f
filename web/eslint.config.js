import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import redos from "eslint-plugin-redos";
import typescript from "typescript-eslint";

export default defineConfig(
  js.configs.recommended,
  typescript.configs.recommended,
  {
    rules: {
      // Emoji are matched by their code points.
      "no-misleading-character-class": ["error", { allowEscape: true }],
      // In the bodies of the server's answers and of events.
      "@typescript-eslint/no-explicit-any": "off",
      "@typescript-eslint/no-unused-expressions": ["error", { allowShortCircuit: true, allowTernary: true }],
    },
  },
  {
    // No regular expression may take more than linear time on some text, so that no text can freeze a reader's tab.
    files: ["src/**"],
    plugins: { redos },
    linterOptions: { noInlineConfig: true },
    rules: {
      // A pattern that the analysis cannot decide is an error too.
      "redos/no-vulnerable": ["error", { ignoreErrors: false, timeout: 60_000 }],
      "no-restricted-globals": [
        "error",
        { name: "RegExp", message: "Write a literal, because the analysis reads only literals." },
      ],
    },
  },
  { files: ["*.js"], languageOptions: { globals: { URL: "readonly" } } },
);
