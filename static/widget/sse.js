/**
 * A parser of text/event-stream: bytes in, events out. Lines end at LF alone, as the protocol writes them, so a raw
 * U+2028 or a lone CR inside a text stays text. It knows nothing of the network.
 *
 * @typedef {{ id: string, event: string, data: string }} ServerEvent
 */

export class EventParser {
  #decoder = new TextDecoder();
  #rest = '';
  #id = '';
  #event = '';
  /** @type {string[]} */
  #data = [];

  /**
   * Takes the next bytes, cut anywhere, and gives the events that they complete.
   * @param {Uint8Array} chunk
   * @returns {ServerEvent[]}
   */
  push(chunk) {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => (line ? this.#field(line) : this.#dispatch()));
  }

  /**
   * @param {string} line
   * @returns {ServerEvent[]}
   */
  #field(line) {
    const [, name, value = ''] = /** @type {RegExpExecArray} */ (/^([^:]*)(?:: ?([^]*))?$/.exec(line));
    if (name === 'id') this.#id = value;
    else if (name === 'event') this.#event = value;
    else if (name === 'data') this.#data.push(value);
    return []; // a comment has no name, and unknown names are ignored
  }

  /** @returns {ServerEvent[]} */
  #dispatch() {
    const event = { id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') };
    const whole = this.#data.length > 0;
    this.#event = '';
    this.#data = [];
    return whole ? [event] : [];
  }
}
