// The Markdown of a message as elements. Makes only text nodes and attributes, never markup from the message.
import { useEffect, useMemo, useState } from "preact/hooks";
import { copyText } from "../clipboard";
import { highlight } from "../highlight/client";
import { t } from "../i18n";
import { me } from "../session";
import { parserFor } from "../state/markdown";
import { people } from "../state/people";
import { findMentions } from "../text/mentions";
import { useTabIndex } from "./row-focus";
import type { ComponentChildren } from "preact";
import type { Coloured } from "../highlight/client";
import type { Markdown } from "../text/markdown";
import type { User } from "../types";

const COPIED_MS = 2_000;

const NOBODY: User[] = [];

/** @param mentions ids of the users whom the text mentions */
export function RichText({ content, mentions = [] }: { content: string; mentions?: string[] }) {
  const parser = parserFor(content);
  const known = mentions.length ? people.value : null;
  const shown = useMemo(() => {
    const users = known ? mentions.flatMap((id) => known.get(id) ?? []) : NOBODY;
    return render(parser(content), users);
  }, [parser, content, mentions, known]);
  return <>{shown}</>;
}

function withMentions(text: string, users: User[]): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  let at = 0;
  for (const { start, end, userId } of findMentions(text, users)) {
    const own = userId === me.peek()?.id;
    const mention = (
      <span class={own ? "mention own" : "mention"} data-person={userId}>
        {text.slice(start, end)}
      </span>
    );
    parts.push(text.slice(at, start), mention);
    at = end;
  }
  return [...parts, text.slice(at)];
}

function render(nodes: Markdown[], users: User[]): ComponentChildren[] {
  return nodes.map((node) => {
    if (typeof node === "string") return users.length ? withMentions(node, users) : node;
    const inside = render(node.children, node.type === "link" || node.type === "code" ? NOBODY : users);
    switch (node.type) {
      case "strong":
        return <strong>{inside}</strong>;
      case "em":
        return <em>{inside}</em>;
      case "s":
        return <s>{inside}</s>;
      case "code":
        return <code>{inside}</code>;
      case "quote":
        return <blockquote>{inside}</blockquote>;
      case "list":
        return node.ordered ? <ol>{inside}</ol> : <ul>{inside}</ul>;
      case "item":
        return <li>{inside}</li>;
      case "spoiler":
        return <Spoiler>{inside}</Spoiler>;
      case "link":
        return <Link href={node.href ?? ""}>{inside}</Link>;
      case "pre":
        return <Code code={String(node.children[0])} language={node.language ?? ""} />;
    }
  });
}

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  return (
    <a href={href} target="_blank" rel="noopener noreferrer" tabindex={useTabIndex()}>
      {children}
    </a>
  );
}

function Spoiler({ children }: { children: ComponentChildren }) {
  const [shown, setShown] = useState(false);
  const tabindex = useTabIndex();
  if (shown) return <span class="spoiler shown">{children}</span>;
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    setShown(true);
  };
  return (
    <span
      class="spoiler"
      role="button"
      tabindex={tabindex}
      aria-label={t("Show the spoiler")}
      onClick={() => setShown(true)}
      onKeyDown={onKeyDown}
    >
      {/* Out of reach of the keyboard and of screen readers until it is shown. */}
      <span inert>{children}</span>
    </span>
  );
}

function Code({ code, language }: { code: string; language: string }) {
  const [coloured, setColoured] = useState<Coloured[] | null>(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!language) return;
    let current = true;
    void highlight(code, language).then((parts) => current && setColoured(parts));
    return () => void (current = false);
  }, [code, language]);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), COPIED_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <div class="code-block">
      <pre dir="ltr">
        <code>{coloured ? inColour(coloured) : code}</code>
      </pre>
      <button type="button" class="copy" tabindex={useTabIndex()} onClick={() => setCopied(copyText(code))}>
        {copied ? t("Copied") : t("Copy")}
      </button>
    </div>
  );
}

const inColour = (parts: Coloured[]): ComponentChildren[] =>
  parts.map((part) =>
    typeof part === "string" ? part : <span class={part.className}>{inColour(part.children)}</span>,
  );
