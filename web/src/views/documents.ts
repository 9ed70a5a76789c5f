// PDF files in the browser's own viewer.
//
// The server sends files as downloads, so that no file of a user opens as a page of this site. The app reads the bytes and gives
// them the type of a PDF, which browsers open in a viewer without the rights of the site.
import { fileLink } from "../api";
import { t } from "../i18n";
import { toast } from "../state/toasts";
import type { BinaryContent } from "../types";

/** Documents that stay in memory for their windows; the oldest is evicted. */
const MAX_OPEN = 5;

/** Object URLs by file id. */
const urls: Map<string, string> = new Map();

export const isReadable = ({ contentType }: BinaryContent) =>
  contentType === "application/pdf" && navigator.pdfViewerEnabled;

export async function openDocument({ id, fileName }: BinaryContent) {
  // In the press, because browsers block later windows.
  const tab = window.open("", "_blank");
  if (!tab) return toast(t("The browser has blocked the window of “{name}”.", { name: fileName }), "error");
  tab.opener = null;
  tab.document.title = fileName;
  try {
    tab.location.replace(urls.get(id) ?? (await load(id, fileName)));
  } catch {
    tab.close();
    toast(t("“{name}” could not be loaded.", { name: fileName }), "error");
  }
}

async function load(id: string, fileName: string) {
  const response = await fetch(fileLink(id));
  if (!response.ok) throw new Error(`status ${response.status}`);
  const url = URL.createObjectURL(new File([await response.arrayBuffer()], fileName, { type: "application/pdf" }));
  urls.set(id, url);
  for (const [oldest, old] of urls) {
    if (urls.size <= MAX_OPEN) break;
    URL.revokeObjectURL(old);
    urls.delete(oldest);
  }
  return url;
}
