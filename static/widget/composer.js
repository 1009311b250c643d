/** Where the visitor writes. Enter sends, Shift+Enter begins a line, and an input method's Enter is its own. */

import { h, icon } from './dom.js';

const LINES = 6;

export class Composer {
  #field;
  #send;
  #stop;
  #act;

  /**
   * @param {import('./panel.js').Words} words
   * @param {{ send: (text: string) => boolean, stop: () => void, typed: (text: string) => void }} act
   */
  constructor(words, act) {
    this.#act = act;
    this.#field = h('textarea', {
      rows: 1,
      'aria-label': words.message,
      placeholder: words.placeholder,
      enterkeyhint: 'send',
      dir: 'auto',
      input: () => this.#typed(),
      keydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
    });
    this.#send = h('button', { class: 'send', type: 'submit', 'aria-label': words.send }, icon('M12 19V5m-6 6 6-6 6 6'));
    this.#stop = h('button', { class: 'send stop', type: 'button', 'aria-label': words.stop, hidden: true, click: act.stop }, icon('M8 8h8v8H8z'));
    this.element = h('form', { class: 'composer', submit: (/** @type {Event} */ event) => this.#submit(event) }, this.#field, this.#send, this.#stop);
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#typed();
  }

  focus() {
    this.#field.focus();
  }

  /** @param {{ answering: boolean, blocked: boolean }} state  blocked: nothing can be sent at the moment */
  show({ answering, blocked }) {
    const held = this.#stop.matches(':focus') || this.#send.matches(':focus');
    this.#send.hidden = answering;
    this.#stop.hidden = !answering;
    this.#send.setAttribute('aria-disabled', String(blocked));
    if (held && !(answering ? this.#stop : this.#send).matches(':focus')) this.focus(); // the button under it has gone
  }

  #typed() {
    this.#act.typed(this.text);
    this.#field.rows = 1;
    const { lineHeight, paddingTop, paddingBottom } = getComputedStyle(this.#field);
    const height = this.#field.scrollHeight - parseFloat(paddingTop) - parseFloat(paddingBottom);
    this.#field.rows = Math.max(1, Math.min(LINES, Math.round(height / parseFloat(lineHeight)) || 1));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const composing = event.isComposing || event.keyCode === 229; // 229: Safari ends a composition before this event
    if (event.key === 'Enter' && !event.shiftKey && !composing) this.#submit(event);
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const text = this.text.trim();
    if (text && this.#send.getAttribute('aria-disabled') !== 'true' && this.#act.send(text)) this.text = '';
  }
}
