import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import redos from "eslint-plugin-redos";
import typescript from "typescript-eslint";

/** Text in the source, which a person would read. */
const LITERAL = ":matches(Literal[value=/[a-z]{2}/i], TemplateLiteral:has(TemplateElement[value.raw=/[a-z]{2}/i]))";
const WORDS = `:matches(${LITERAL}, :matches(ConditionalExpression, LogicalExpression) > ${LITERAL})`;
const TEXT_ATTRIBUTES = "/^(aria-label|aria-description|title|placeholder|alt|label|hint|action|heading|text)$/";

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
    files: ["**/src/**"],
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
  {
    // Every sentence of the app is in the catalogue (src/i18n), so that it has a translation.
    files: ["src/**/*.ts", "src/**/*.tsx"],
    ignores: ["**/*.test.ts", "src/i18n/**"],
    rules: {
      "no-restricted-syntax": [
        "error",
        ...[
          `JSXText[value=/[a-z]{2}/i]:not([value=/^\\s*(Discodeit|Ctrl K)\\s*$/])`,
          `:matches(JSXElement, JSXFragment) > JSXExpressionContainer > ${WORDS}`,
          `JSXAttribute[name.name=${TEXT_ATTRIBUTES}] > ${WORDS}`,
          `JSXAttribute[name.name=${TEXT_ATTRIBUTES}] > JSXExpressionContainer > ${WORDS}`,
          `CallExpression[callee.name="toast"] > ${WORDS}:first-child`,
        ].map((selector) => ({ selector, message: 'Write t("…"), see src/i18n/index.ts.' })),
      ],
    },
  },
  { files: ["*.js"], languageOptions: { globals: { URL: "readonly" } } },
);
