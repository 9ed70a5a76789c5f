// Files in a drop or a paste.

/** Must be called in the event: afterwards the browser has emptied the transfer. */
export function filesOf(transfer: DataTransfer | null): { files: File[]; folders: string[] } {
  const files: File[] = [];
  const folders: string[] = [];
  for (const item of transfer?.items ?? []) {
    if (item.kind !== "file") continue;
    // A folder also has a file, which cannot be read.
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) folders.push(entry.name);
    else files.push(...[item.getAsFile()].filter((file) => file !== null));
  }
  return { files, folders };
}
