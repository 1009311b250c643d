/** What was said, as rows of the document. A row is drawn again only when its message is another value. */

import { Rendered, h, icon, linked } from './dom.js';

/**
 * @typedef {import('./conversation.js').Message} Message
 * @typedef {{ message: Message | null, element: HTMLElement, prose: Rendered, extras: HTMLElement }} Row
 */

const NEAR = 48; // pixels from the end that still count as reading along
const HIDDEN = 12; // pixels below the edge that are worth a way to them
const EXCERPT = 200; // characters of a passage

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
   * @param {{ retry: () => void, goOn: () => void, pick: (text: string) => void }} act
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
    const { role, text, state, sources } = message;
    if (role === 'visitor') row.prose.element.textContent = text; // shown as it was typed
    else row.prose.show(text, state === 'streaming', sources);
    row.element.dataset.state = state;
    row.extras.replaceChildren(...this.#extras(message));
    row.message = message;
  }

  /** @param {Message} message @returns {Node[]} */
  #extras({ role, text, state, tools = [], sources = [], passages = [], asked, replies, retry }) {
    const words = this.#words;
    const nodes = lookedUp(tools);
    if (state === 'streaming' && !text && !tools.some(running)) nodes.push(h('p', { class: 'busy', role: 'img', 'aria-label': words.writing }));
    if (asked) nodes.push(h('p', { class: 'aside' }, words.asked));
    if (state === 'streaming') return nodes;
    nodes.push(...below('ul', words.passages, passages.map(({ title, url, text }) => h('li', { dir: 'auto' }, linked(title, url), h('br'), excerpt(text)))));
    nodes.push(...below('ol', words.sources, sources.map(({ n, title, url }) => h('li', { dir: 'auto', value: n }, linked(title, url)))));
    if (role === 'assistant' && state === 'cancelled') nodes.push(h('p', { class: 'aside' }, words.cancelled));
    if (role === 'assistant' && state === 'interrupted') nodes.push(h('p', { class: 'aside' }, words.interrupted, ' ', this.#button(words.goOn, this.#act.goOn)));
    if (state === 'failed') nodes.push(h('p', { class: 'aside' }, words.notSent, ' ', this.#button(words.retry, this.#act.retry)));
    if (retry) nodes.push(h('p', { class: 'aside' }, this.#button(words.retry, this.#act.retry)));
    return [...nodes, ...suggestions(words.replies, this.#act.pick, replies)];
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

/**
 * What the visitor may say by a tap, if there is anything.
 * @param {string} label
 * @param {(text: string) => void} pick
 * @param {string[]} [texts]
 */
export function suggestions(label, pick, texts = []) {
  const item = (/** @type {string} */ text) => h('li', {}, h('button', { type: 'button', dir: 'auto', click: () => pick(text) }, text));
  return texts.length ? [h('ul', { class: 'suggestions', 'aria-label': label }, ...texts.map(item))] : [];
}

/** A list under its name, if it has anything. @param {'ul' | 'ol'} tag @param {string} name @param {Node[]} items */
function below(tag, name, items) {
  return items.length ? [h('div', { class: 'below' }, name, h(tag, {}, ...items))] : [];
}

/** What is being looked up, and what has been; of the same, one line. @param {import('./conversation.js').ToolUse[]} tools */
function lookedUp(tools) {
  const lines = new Map(tools.map((tool) => [tool.label + tool.state, tool]));
  return [...lines.values()].map((tool) => h('p', { class: running(tool) ? 'busy' : `aside ${tool.state}` }, tool.label));
}

/** @param {{ state: string }} tool */
function running({ state }) {
  return state === 'running';
}

/** The beginning of a text, cut between two words where it has any. @param {string} text */
function excerpt(text) {
  const start = [...text].slice(0, EXCERPT).join('');
  return start === text ? text : `${start.replace(/\s+\S{0,20}$/, '')}…`;
}
