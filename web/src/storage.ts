// The browser's storage. Where the user blocks it, reading the property throws: the app then works without it.

function wrap(open: () => Storage) {
  const attempt = <T>(work: (storage: Storage) => T, otherwise: T): T => {
    try {
      return work(open());
    } catch {
      return otherwise;
    }
  };
  return {
    get: (key: string): string | null => attempt((storage) => storage.getItem(key), null),
    /** @returns false when storage is blocked or full */
    set: (key: string, value: string): boolean => attempt((storage) => (storage.setItem(key, value), true), false),
    remove: (key: string): void => attempt((storage) => storage.removeItem(key), undefined),
    keys: (): string[] => attempt((storage) => Object.keys(storage), []),
  };
}

/** Of this browser. */
export const stored = wrap(() => localStorage);

/** Of this tab: a reload keeps it. */
export const storedInTab = wrap(() => sessionStorage);
