/**
 * The calls of the visitor protocol, version 1. A refusal is a `Problem`; anything else that is thrown is the network.
 *
 * @typedef {{ url: string, title: string }} Page
 * @typedef {{ n: number, title: string, url?: string }} Source
 * @typedef {{ id: string, role: 'visitor' | 'assistant' | 'person' | 'notice', text: string, created_at: string,
 *             sources?: Source[], state: string }} TranscriptMessage
 * @typedef {{ id: string, messages: TranscriptMessage[], turn?: { id: string, state: string } | null }} Transcript
 * @typedef {{ token: string, expires_at: string, visitor: { id: string }, conversation: Transcript }} Admission
 * @typedef {{ accent?: string, scheme?: string, position?: string }} Theme
 * @typedef {{ name: string, title?: string, greeting?: string, suggestions?: string[], theme?: Theme, locale?: string,
 *             features?: Record<string, unknown>, demo?: boolean }} SiteConfig
 */

const PATIENCE_MS = 20_000; // for a call that is no stream

export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{ code?: string, detail?: string, retry_after?: number, turn?: string }} body
   */
  constructor(status, body) {
    super(body.detail ?? '');
    this.status = status;
    this.code = body.code ?? 'unavailable';
    this.retryAfter = body.retry_after;
    this.turn = body.turn;
  }
}

export class Api {
  #server;
  #token;
  #fetch;

  /**
   * @param {string} server  the widget's own host, ending in a slash
   * @param {() => string | undefined} token
   * @param {typeof globalThis.fetch} [fetch]
   */
  constructor(server, token, fetch = (...call) => globalThis.fetch(...call)) {
    this.#server = server;
    this.#token = token;
    this.#fetch = fetch;
  }

  /** @param {string} key @returns {Promise<SiteConfig>} */
  site(key) {
    return this.#json('GET', `sites/${encodeURIComponent(key)}`, { open: true });
  }

  /** @param {{ site: string, locale?: string, page?: Page }} body @returns {Promise<Admission>} */
  session(body) {
    return this.#json('POST', 'sessions', { body });
  }

  /** @returns {Promise<Transcript>} */
  conversation() {
    return this.#json('GET', 'conversation');
  }

  /** @returns {Promise<Transcript>} */
  newConversation() {
    return this.#json('POST', 'conversation');
  }

  /** @param {string} turn @returns {Promise<unknown>} */
  cancel(turn) {
    return this.#json('POST', `turns/${encodeURIComponent(turn)}/cancel`);
  }

  /**
   * One visitor message; the answer streams back.
   * @param {{ conversation: string, id: string, text: string, page?: Page }} body
   * @param {AbortSignal} signal
   */
  ask(body, signal) {
    return this.#call('POST', 'messages', { body, signal });
  }

  /**
   * The same stream again, from the event `after` on; from its beginning if that is empty.
   * @param {string} turn
   * @param {string} after
   * @param {AbortSignal} signal
   */
  events(turn, after, signal) {
    /** @type {Record<string, string>} */
    const headers = after ? { 'Last-Event-ID': after } : {};
    return this.#call('GET', `turns/${encodeURIComponent(turn)}/events`, { headers, signal });
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{ body?: unknown, open?: boolean }} [options]
   */
  async #json(method, path, options = {}) {
    return (await this.#call(method, path, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) })).json();
  }

  /**
   * `open` calls go out without the visitor's token, and so without a preflight.
   * @param {string} method
   * @param {string} path
   * @param {{ body?: unknown, open?: boolean, headers?: Record<string, string>, signal: AbortSignal }} options
   */
  async #call(method, path, { body, open, headers = {}, signal }) {
    const token = !open && this.#token();
    const response = await this.#fetch(`${this.#server}v1/${path}`, {
      method,
      signal,
      credentials: 'omit',
      headers: {
        ...headers,
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...(body ? { 'Content-Type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : undefined,
    });
    if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
    return response;
  }
}
