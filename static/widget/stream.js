/**
 * Follows one answer to its end, over as many connections as that takes. Whatever cuts a connection, the next one asks
 * for what came after the last event, so the reader of `follow` sees each event once and in order.
 *
 * @typedef {{ id: string, event: string, data: any }} TurnEvent
 * @typedef {(turn: string, after: string, signal: AbortSignal) => Promise<Response>} Connect
 */

import { EventParser } from './sse.js';
import { Problem } from './api.js';

const SILENCE_MS = 40_000; // the server speaks at least every 15 s: a line that is silent for longer is dead
const LONGEST_MS = 15_000;
const TRIES_BEFORE_START = 6; // half a minute; then the visitor decides
const TRIES_AFTER = 60; // about a quarter of an hour: the answer is there, only the way to it is not

/**
 * `connect` is asked with an empty turn until `start` has named it. Throws the server's refusal (a `Problem`), or the
 * network's last error when there were too many in a row. Aborting `signal` ends it without a word.
 *
 * @param {Connect} connect
 * @param {{ signal: AbortSignal, turn?: string, onConnection?: (alive: boolean) => void }} options
 * @returns {AsyncGenerator<TurnEvent, void>}
 */
export async function* follow(connect, { signal, turn = '', onConnection = () => {} }) {
  let after = '';
  let over = false;
  for (let failures = 0; !over && !signal.aborted; failures++) {
    if (failures) {
      onConnection(false);
      await pause(backOff(failures), signal);
      if (signal.aborted) return;
    }
    const line = new Line(signal);
    try {
      const response = await connect(turn, after, line.signal);
      for await (const event of events(response, line)) {
        failures = 0;
        onConnection(true);
        after = event.id;
        if (event.event === 'start') turn = event.data.turn;
        over ||= event.event === 'done' || event.event === 'error'; // and then to the end: closing early looks like a loss
        yield event;
      }
    } catch (error) {
      if (over || signal.aborted) return;
      if (!passing(error, turn) || failures >= (turn ? TRIES_AFTER : TRIES_BEFORE_START)) throw error;
    } finally {
      line.close();
    }
  }
}

/**
 * One connection's life: it ends by the caller's signal, by silence, or when the network says that it has changed, for
 * what was open before then may be dead without knowing.
 */
class Line {
  #end = new AbortController();
  #timer = 0;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    const close = () => this.close();
    signal.addEventListener('abort', close, { signal: this.signal });
    for (const change of ['offline', 'online']) globalThis.addEventListener(change, close, { signal: this.signal });
    this.heard();
  }

  get signal() {
    return this.#end.signal;
  }

  heard() {
    clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(() => this.close(), SILENCE_MS));
  }

  close() {
    clearTimeout(this.#timer);
    this.#end.abort();
  }
}

/**
 * @param {Response} response
 * @param {Line} line
 * @returns {AsyncGenerator<TurnEvent, void>}
 */
async function* events(response, line) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const parser = new EventParser();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    line.heard();
    for (const event of parser.push(/** @type {Uint8Array} */ (value))) yield { ...event, data: JSON.parse(event.data) };
  }
}

/**
 * Before the turn has begun, a refusal is the answer to the visitor's message. Later, only what says that the turn or
 * the visitor is gone (4xx but 429) is final.
 * @param {unknown} error
 * @param {string} turn
 */
function passing(error, turn) {
  return error instanceof Problem ? turn !== '' && (error.status >= 500 || error.status === 429) : true;
}

/** Doubling, capped, with jitter over the upper half. @param {number} failures */
function backOff(failures) {
  return Math.min(LONGEST_MS, 250 * 2 ** failures) * (0.5 + Math.random() / 2);
}

/**
 * Waits, but no longer than until the network or the reader comes back.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const timer = setTimeout(end, ms);
    function end() {
      clearTimeout(timer);
      over.abort();
      resolve();
    }
    signal.addEventListener('abort', end, { signal: over.signal });
    globalThis.addEventListener('online', end, { signal: over.signal });
    document.addEventListener('visibilitychange', () => document.hidden || end(), { signal: over.signal });
  });
}
