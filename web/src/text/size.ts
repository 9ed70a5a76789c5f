// Formats file sizes.
const KB = 1024;
const MB = KB * KB;

export function sizeOf(bytes: number) {
  if (bytes < KB) return `${bytes} B`;
  if (bytes < MB) return `${Math.round(bytes / KB)} KB`;
  return `${(bytes / MB).toFixed(bytes < 10 * MB ? 1 : 0).replace(/\.0$/, "")} MB`;
}
