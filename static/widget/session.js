/**
 * What the widget keeps of a visitor on this origin: one entry of localStorage, written from the first open on. Where
 * storage is denied or full, it lives as long as the page.
 *
 * @typedef {object} Kept
 * @property {string} [token]
 * @property {string} [expires]       when the token ends, RFC 3339
 * @property {string} [visitor]
 * @property {string} [conversation]
 * @property {string} [turn]          the newest turn that a tab of this visitor has begun
 * @property {boolean} [spoken]       something was said, so that losing the conversation is worth a word
 * @property {{ id: string, text: string, at: number } | null} [pending]  sent, and not known to be admitted
 * @property {string} [draft]
 * @property {boolean} [open]
 * @property {import('./api.js').Theme} [theme]  dresses the launcher on the next page, before any request
 */

export class Session {
  #key;
  #storage;
  /** @type {Kept} */
  #kept = {};

  /**
   * @param {string} site
   * @param {Storage | null} storage
   */
  constructor(site, storage) {
    this.#key = `parlance:${site}`;
    this.#storage = storage;
  }

  /** Read anew each time: another tab may have written. @returns {Kept} */
  get kept() {
    try {
      if (this.#storage) this.#kept = JSON.parse(this.#storage.getItem(this.#key) ?? '{}');
    } catch {
      // Denied, or not ours to read: what this page knows must do.
    }
    return this.#kept;
  }

  /** @param {Kept} change */
  update(change) {
    this.#kept = { ...this.kept, ...change };
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(this.#kept));
    } catch {
      this.#storage = null;
    }
  }

  /** The visitor is not known to the server any more. What was typed stays. */
  forget() {
    this.update({ token: undefined, expires: undefined, visitor: undefined, conversation: undefined, turn: undefined, spoken: false });
  }

  /**
   * Calls back when another tab has written, and when this one is looked at again.
   * @param {() => void} changed
   * @param {AbortSignal} signal
   */
  watch(changed, signal) {
    addEventListener('storage', (event) => event.key === this.#key && changed(), { signal });
    addEventListener('pageshow', (event) => event.persisted && changed(), { signal });
    document.addEventListener('visibilitychange', () => document.hidden || changed(), { signal });
  }
}

/** @returns {Storage | null} */
export function pageStorage() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}
