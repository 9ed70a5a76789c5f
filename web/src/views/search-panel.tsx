// Search in messages: the form, and the found messages, newest first.
import { useEffect, useId, useRef } from "preact/hooks";
import { plural, t } from "../i18n";
import { goToMessage, openChannelId } from "../route";
import { channels, channelTitle, privateChannels, publicChannels } from "../state/channels";
import { searchOpen } from "../state/drawers";
import { spoilersOf, spoilerWord } from "../state/markdown";
import { authorOf, people } from "../state/people";
import { changeSearch, results, search, searchForm, searchMore } from "../state/search";
import { excerptOf } from "../text/excerpt";
import { dayLabel, exactTime, timeOfDay } from "../text/time";
import { Avatar } from "./avatar";
import { CloseIcon, SearchIcon } from "./icons";
import { focusComposer } from "./writing";
import type { SearchForm } from "../state/search";
import type { Channel, Found } from "../types";

const MAX_LENGTH = 100;
/** Names offered for the author. */
const MAX_NAMES = 30;

export function SearchPanel() {
  const field = useRef<HTMLInputElement | null>(null);
  const { text } = searchForm.value;
  useEffect(() => {
    changeSearch({ channelId: openChannelId.peek() });
    field.current?.focus();
    field.current?.select();
  }, []);
  const close = () => {
    searchOpen.value = false;
    focusComposer(openChannelId.peek() ?? "");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    close();
  };
  const onSubmit = (event: Event) => {
    event.preventDefault();
    void search();
  };
  return (
    <aside class="search-panel" aria-label={t("Search")} onKeyDown={onKeyDown}>
      <header>
        <h2>{t("Search")}</h2>
        <button type="button" class="icon-button" aria-label={t("Close the search")} title={t("Close")} onClick={close}>
          <CloseIcon />
        </button>
      </header>
      <form role="search" onSubmit={onSubmit}>
        <div class="search-row">
          <input
            ref={field}
            type="search"
            class="search"
            maxLength={MAX_LENGTH}
            autocomplete="off"
            enterkeyhint="search"
            aria-label={t("Search messages")}
            placeholder={t("Search messages")}
            value={text}
            onInput={({ currentTarget }) => changeSearch({ text: currentTarget.value })}
          />
          <button class="primary" aria-label={t("Search")} title={t("Search")}>
            <SearchIcon />
          </button>
        </div>
        <Filters />
      </form>
      <Results />
    </aside>
  );
}

function Filters() {
  const id = useId();
  const { channelId, author, from, to, has } = searchForm.value;
  const typed = author.trim().toLowerCase();
  const names = [...(people.value?.values() ?? [])]
    .map((user) => user.username)
    .filter((name) => name.toLowerCase().includes(typed))
    .slice(0, MAX_NAMES);
  const change = (changes: Partial<SearchForm>) => {
    changeSearch(changes);
    // A filter of what is shown applies at once.
    if (results.peek()) void search();
  };
  return (
    <div class="filters">
      <label for={`${id}-in`}>{t("In")}</label>
      <select
        id={`${id}-in`}
        value={channelId ?? ""}
        onChange={({ currentTarget }) => change({ channelId: currentTarget.value || null })}
      >
        <option value="">{t("All conversations")}</option>
        <optgroup label={t("Channels")}>{publicChannels.value.map(asOption)}</optgroup>
        <optgroup label={t("Private conversations")}>{privateChannels.value.map(asOption)}</optgroup>
      </select>
      <label for={`${id}-from`}>{t("From")}</label>
      <input
        id={`${id}-from`}
        list={`${id}-names`}
        autocomplete="off"
        placeholder={t("Anybody")}
        value={author}
        onInput={({ currentTarget }) => changeSearch({ author: currentTarget.value })}
      />
      <datalist id={`${id}-names`}>
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <label for={`${id}-since`}>{t("Since")}</label>
      <input
        id={`${id}-since`}
        type="date"
        max={to || undefined}
        value={from}
        onChange={({ currentTarget }) => change({ from: currentTarget.value })}
      />
      <label for={`${id}-until`}>{t("Until")}</label>
      <input
        id={`${id}-until`}
        type="date"
        min={from || undefined}
        value={to}
        onChange={({ currentTarget }) => change({ to: currentTarget.value })}
      />
      <label for={`${id}-with`}>{t("With")}</label>
      <select
        id={`${id}-with`}
        value={has}
        onChange={({ currentTarget }) => change({ has: currentTarget.value as SearchForm["has"] })}
      >
        <option value="">{t("Anything")}</option>
        <option value="file">{t("Files")}</option>
        <option value="link">{t("Links")}</option>
      </select>
    </div>
  );
}

const asOption = (channel: Channel) => (
  <option key={channel.id} value={channel.id}>
    {channel.type === "PUBLIC" && "#"}
    {channelTitle(channel)}
  </option>
);

function Results() {
  const shown = results.value;
  if (!shown)
    return <p class="none">{t("Words are found in any order, also inside other words. “Quotes” find a phrase.")}</p>;
  const { items, next, loading, error } = shown;
  return (
    <div class="results" aria-busy={loading}>
      <p class="unseen" role="status">
        {!loading && !error && plural(items.length, "{count} message shown", "{count} messages shown")}
      </p>
      {!loading && !error && !items.length && (
        <div class="nothing">
          <span class="emblem">
            <SearchIcon />
          </span>
          <p>{t("No messages found.")}</p>
        </div>
      )}
      {items.length > 0 && (
        <ol>
          {items.map((found) => (
            <Result key={found.message.id} found={found} />
          ))}
        </ol>
      )}
      {error && (
        <p class="refused" role="alert">
          {error}
        </p>
      )}
      {loading && (
        <p class="none">
          <span class="spinner" />
          {t("Searching…")}
        </p>
      )}
      {next && !loading && (
        <button type="button" class="quiet" onClick={() => void searchMore()}>
          {t("Show more")}
        </button>
      )}
    </div>
  );
}

function Result({ found: { message, highlights } }: { found: Found }) {
  const { channelId, seq, createdAt, content, attachments } = message;
  const author = authorOf(message.author);
  const channel = channels.value?.find((each) => each.id === channelId);
  const files = (attachments ?? []).map((file) => file.fileName).join(", ");
  return (
    <li>
      <button type="button" class="result" onClick={() => goToMessage(channelId, seq)}>
        <span class="where">
          {channel?.type === "PUBLIC" && "#"}
          {channel && channelTitle(channel)}
          <time datetime={createdAt} title={exactTime(createdAt)}>
            {dayLabel(createdAt)} {timeOfDay(createdAt)}
          </time>
        </span>
        <span class="who">
          <Avatar user={author} size="tiny" />
          <strong>{author?.username ?? t("Deleted user")}</strong>
        </span>
        <span class="excerpt" dir="auto">
          {excerptOf(content, highlights, spoilersOf(content), spoilerWord()).map(({ text, marked }) =>
            marked ? <mark>{text}</mark> : text,
          )}
        </span>
        {files && <span class="files">{files}</span>}
      </button>
    </li>
  );
}
