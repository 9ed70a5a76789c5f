// Colours code, in a worker: the regular expressions of highlight.js take up to seconds for hostile text.
import { createLowlight } from "lowlight";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import type { Answer, Coloured, Question } from "./client";

const lowlight = createLowlight({
  ...{ bash, c, cpp, csharp, css, diff, go, java, javascript, json, kotlin, python, rust, sql, typescript, xml, yaml },
});

addEventListener("message", ({ data: { id, code, language } }: MessageEvent<Question>) => {
  const known = lowlight.registered(language);
  const answer: Answer = { id, parts: known ? lowlight.highlight(language, code).children.flatMap(coloured) : null };
  postMessage(answer);
});

type Node = ReturnType<typeof lowlight.highlight>["children"][number];

function coloured(node: Node): Coloured[] {
  if (node.type === "text") return [node.value];
  if (node.type !== "element") return [];
  const names = node.properties["className"];
  return [{ className: Array.isArray(names) ? names.join(" ") : "", children: node.children.flatMap(coloured) }];
}
