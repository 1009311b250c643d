/** What was said, as rows of the document. A row is drawn again only when its message is another value. */

import { Rendered, h, icon, outward } from './dom.js';

/**
 * @typedef {import('./conversation.js').Message} Message
 * @typedef {{ message: Message | null, element: HTMLElement, prose: Rendered, extras: HTMLElement }} Row
 */

const NEAR = 48; // pixels from the end that still count as reading along
const HIDDEN = 12; // pixels below the edge that are worth a way to them

export class Transcript {
  #words;
  #act;
  #greeting = h('div', { class: 'greeting' });
  #list = h('div', { class: 'list' });
  #scroller;
  #latest;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #following = true;

  /**
   * @param {import('./panel.js').Words} words
   * @param {{ retry: () => void, goOn: () => void }} act
   */
  constructor(words, act) {
    this.#words = words;
    this.#act = act;
    this.#scroller = h(
      'div',
      { class: 'scroller', role: 'log', 'aria-live': 'off', 'aria-label': words.log, tabindex: 0, scroll: () => this.#noticeReader() },
      this.#greeting,
      this.#list,
    );
    const jump = () => this.#scrollTo(this.#end);
    this.#latest = h('button', { class: 'latest', type: 'button', 'aria-label': words.latest, hidden: true, click: jump }, icon('M12 5v14m-6-6 6 6 6-6'));
    this.element = h('div', { class: 'transcript' }, this.#scroller, this.#latest);
  }

  /** What stands above the first message. @param {...Node} nodes */
  greet(...nodes) {
    this.#greeting.replaceChildren(...nodes);
  }

  /** @param {Message[]} messages */
  show(messages) {
    const rows = messages.map((message) => this.#row(message));
    for (const [id, { element }] of this.#rows) {
      if (messages.some((message) => message.id === id)) continue;
      element.remove();
      this.#rows.delete(id);
    }
    rows.forEach(({ element }, at) => {
      if (this.#list.children[at] !== element) this.#list.insertBefore(element, this.#list.children[at] ?? null);
    });
    this.#keepUp();
  }

  /** The reader has sent something, or opened the panel: the end is what counts. */
  toEnd() {
    this.#following = true;
    this.#keepUp();
  }

  /** @param {Message} message @returns {Row} */
  #row(message) {
    const row = this.#rows.get(message.id) ?? this.#newRow(message);
    if (row.message !== message) this.#draw(row, message);
    return row;
  }

  /** @param {Message} message @returns {Row} */
  #newRow({ id, role }) {
    const prose = new Rendered();
    const extras = h('div', { class: 'extras' });
    const speaker = { visitor: this.#words.you, notice: this.#words.notice }[String(role)];
    const element = h('div', { class: `row ${role}` }, ...(speaker ? [h('span', { class: 'unseen' }, speaker)] : []), prose.element, extras);
    const row = { message: null, element, prose, extras };
    this.#rows.set(id, row);
    return row;
  }

  /** @param {Row} row @param {Message} message */
  #draw(row, message) {
    const { role, text, state } = message;
    if (role === 'visitor') row.prose.element.textContent = text; // shown as it was typed
    else row.prose.show(text, state === 'streaming');
    row.element.dataset.state = state;
    row.extras.replaceChildren(...this.#extras(message));
    row.message = message;
  }

  /** @param {Message} message @returns {Node[]} */
  #extras({ role, text, state, tools = [], sources = [], passages = [], retry }) {
    const words = this.#words;
    const running = tools.filter((tool) => tool.state === 'running');
    const nodes = running.map((tool) => h('p', { class: 'busy' }, tool.label));
    if (state === 'streaming' && !text && !running.length) nodes.push(h('p', { class: 'busy', role: 'img', 'aria-label': words.writing }));
    if (state === 'streaming') return nodes;
    if (passages.length) nodes.push(...passages.map((passage) => h('p', { class: 'passage' }, named(passage), h('br'), passage.text)));
    if (sources.length) nodes.push(h('p', { class: 'sources' }, h('span', {}, words.sources), ...sources.map((source) => h('span', {}, `${source.n} `, named(source)))));
    if (role === 'assistant' && state === 'cancelled') nodes.push(h('p', { class: 'aside' }, words.cancelled));
    if (role === 'assistant' && state === 'interrupted') nodes.push(h('p', { class: 'aside' }, words.interrupted, ' ', this.#button(words.goOn, this.#act.goOn)));
    if (state === 'failed') nodes.push(h('p', { class: 'aside' }, words.notSent, ' ', this.#button(words.retry, this.#act.retry)));
    if (retry) nodes.push(h('p', { class: 'aside' }, this.#button(words.retry, this.#act.retry)));
    return nodes;
  }

  /** @param {string} label @param {() => void} click */
  #button(label, click) {
    return h('button', { class: 'link', type: 'button', click }, label);
  }

  // ---- where the reader is ----------------------------------------------------------------------------------------

  get #end() {
    return this.#scroller.scrollHeight - this.#scroller.clientHeight;
  }

  /** Keeps the end in sight while the reader is there, but never pushes the question that is being answered away. */
  #keepUp() {
    if (this.#following) this.#scrollTo(Math.min(this.#end, this.#question()));
    this.#offerLatest();
  }

  /** Where the last question stands at the top. */
  #question() {
    const questions = this.#list.querySelectorAll('.visitor');
    const last = /** @type {HTMLElement | undefined} */ (questions[questions.length - 1]);
    return last ? last.offsetTop - 12 : Infinity;
  }

  /** @param {number} top */
  #scrollTo(top) {
    this.#scroller.scrollTop = top;
  }

  #noticeReader() {
    const { scrollTop } = this.#scroller;
    this.#following = scrollTop >= Math.min(this.#end, this.#question()) - NEAR;
    this.#offerLatest();
  }

  #offerLatest() {
    this.#latest.hidden = this.#end - this.#scroller.scrollTop < HIDDEN;
  }
}

/** @param {{ title: string, url?: string }} source */
function named({ title, url }) {
  return url && /^https?:/i.test(url) ? outward(url, title) : title;
}
