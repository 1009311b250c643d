/**
 * The panel: puts the parts together, shows what the conversation is, and passes on what the visitor does. Loaded on
 * intent by loader.js, which owns the launcher and the shadow root.
 *
 * @typedef {typeof import('./words/en.js').default} Words
 * @typedef {object} Place
 * @property {HTMLElement} root      the wrapper within the shadow root
 * @property {ShadowRoot} shadow
 * @property {HTMLElement} launcher
 * @property {string} server         the widget's own host, ending in a slash
 * @property {string} site
 * @property {string} locale         of the visitor
 * @property {AbortSignal} signal
 */

import { Api, Problem } from './api.js';
import { Composer } from './composer.js';
import { Conversation } from './conversation.js';
import { h, icon } from './dom.js';
import { Session, pageStorage } from './session.js';
import { styles } from './styles.js';
import { Transcript, suggestions } from './transcript.js';

const PHONE = matchMedia('(max-width: 520px)');

/** @param {Place} place @param {Words} words */
export function build(place, words) {
  return new Panel(place, words);
}

class Panel {
  #place;
  #words;
  #session;
  #api;
  #conversation;
  #transcript;
  #composer;
  #theme = new CSSStyleSheet();
  #viewport = new CSSStyleSheet();
  #title = h('h2');
  #demo;
  #status = h('div', { class: 'status' });
  #heard = h('div', { class: 'unseen', 'aria-live': 'polite', 'aria-atomic': true });
  #dialog;
  #begun = false;
  #pages = false; // whether the site wants to know the page; not before it has said so
  #drawn = 0;
  #ticking = 0;

  /** @param {Place} place @param {Words} words */
  constructor(place, words) {
    const { signal, shadow, site } = place;
    this.#place = place;
    this.#words = words;
    this.#session = new Session(site, pageStorage());
    this.#api = new Api(place.server, () => this.#session.kept.token);
    this.#conversation = new Conversation({
      api: this.#api,
      session: this.#session,
      words,
      about: () => ({ site, locale: place.locale || undefined, page: this.#pages ? page() : undefined }),
      hooks: { changed: () => this.#changed(), announce: (text) => this.#announce(text), giveBack: (text) => this.#giveBack(text) },
      signal,
    });
    this.#transcript = new Transcript(words, {
      retry: () => this.#conversation.retry(),
      goOn: () => this.#send(words.pleaseGoOn),
      pick: (text) => this.#pick(text),
    });
    this.#composer = new Composer(words, { send: (text) => this.#send(text), stop: () => this.#conversation.stop(), typed: (text) => this.#typed(text) });
    this.#demo = h('span', { class: 'demo', title: words.demoHint, hidden: true }, words.demo);
    this.#dialog = this.#build();
    place.root.prepend(this.#dialog);
    shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, styles, this.#theme, this.#viewport];
    this.#listen(signal);
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /** @param {{ focus: boolean }} options */
  open({ focus }) {
    if (this.isOpen) return;
    this.#session.update({ open: true });
    this.#present(focus);
    if (!this.#begun) this.#begin();
    this.#transcript.toEnd();
  }

  close() {
    if (!this.isOpen) return;
    this.#session.update({ open: false });
    this.#dialog.close();
    this.#place.launcher.setAttribute('aria-expanded', 'false');
    this.#place.launcher.focus();
  }

  /** The widget was carried into another page of the same document: on a phone that page is what the visitor asked for. */
  settle() {
    if (!this.isOpen) return;
    if (PHONE.matches) this.close();
    else this.#transcript.toEnd();
  }

  // ---- putting it up ----------------------------------------------------------------------------------------------

  #build() {
    const words = this.#words;
    /** @param {string} label @param {string} path @param {() => void} click */
    const tool = (label, path, click) => h('button', { class: 'tool', type: 'button', 'aria-label': label, title: label, click }, icon(path));
    return h(
      'dialog',
      { class: 'panel', role: 'dialog', 'aria-label': words.launcher, tabindex: -1 },
      h(
        'header',
        {},
        this.#title,
        this.#demo,
        tool(words.restart, 'M12 6v12M6 12h12', () => this.#restart()),
        tool(words.close, 'm7 7 10 10M17 7 7 17', () => this.close()),
      ),
      this.#transcript.element,
      this.#status,
      this.#composer.element,
      this.#heard,
    );
  }

  /** @param {AbortSignal} signal */
  #listen(signal) {
    this.#dialog.addEventListener('keydown', (event) => this.#key(event), { signal });
    this.#dialog.addEventListener('cancel', (event) => (event.preventDefault(), this.close()), { signal });
    PHONE.addEventListener('change', () => this.isOpen && this.#present(false), { signal });
    window.visualViewport?.addEventListener('resize', () => this.#fit(), { signal });
    window.visualViewport?.addEventListener('scroll', () => this.#fit(), { signal });
    signal.addEventListener('abort', () => {
      clearInterval(this.#ticking);
      this.#dialog.remove();
      const { shadow } = this.#place;
      shadow.adoptedStyleSheets = shadow.adoptedStyleSheets.filter((sheet) => ![styles, this.#theme, this.#viewport].includes(sheet));
    });
  }

  /** Beside the page on a desk; over it, as a modal dialog, on a phone. @param {boolean} focus */
  #present(focus) {
    this.#dialog.close();
    if (PHONE.matches) this.#dialog.showModal();
    else this.#dialog.setAttribute('open', ''); // show() would take the focus, which a restored panel must not
    this.#place.launcher.setAttribute('aria-expanded', 'true');
    this.#fit();
    if (PHONE.matches) this.#dialog.focus(); // not the field: the keyboard would hide the greeting
    else if (focus) this.#composer.focus();
  }

  /** On a phone the panel is as high as what the keyboard leaves. */
  #fit() {
    const view = window.visualViewport;
    if (view && PHONE.matches && view.scale === 1) {
      this.#viewport.replaceSync(`.panel{--seen:${view.height}px;--above:${view.offsetTop}px}`);
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== 'Escape' || event.isComposing) return;
    event.stopPropagation();
    this.close();
  }

  // ---- what the site and the visitor are --------------------------------------------------------------------------

  async #begin() {
    this.#begun = true;
    const draft = this.#session.kept.draft;
    if (draft) this.#composer.text = draft;
    await Promise.all([this.#configure(), this.#conversation.load()]);
  }

  async #configure() {
    try {
      const config = await this.#api.site(this.#place.site);
      this.#pages = config.features?.page_context !== false;
      this.#demo.hidden = !config.demo;
      this.#title.textContent = config.title || config.name;
      this.#dialog.setAttribute('aria-label', this.#title.textContent);
      this.#dress(config.theme ?? {});
      this.#greet(config.greeting ?? '', config.suggestions);
    } catch (error) {
      this.#begun = false; // the next opening tries again
      const text = (error instanceof Problem && error.message) || this.#words.unreachable;
      this.#conversation.notice ??= { text, retry: () => this.#begin() };
      this.#announce(text);
      this.#changed();
    }
  }

  /** @param {import('./api.js').Theme} theme */
  #dress(theme) {
    const { accent = '', scheme = 'auto', position = 'right' } = theme;
    if (CSS.supports('color', accent)) this.#theme.replaceSync(`:host{--parlance-accent:${accent}}`);
    this.#place.root.dataset.scheme = scheme;
    this.#place.root.dataset.position = position;
    this.#session.update({ theme });
  }

  /** @param {string} greeting @param {string[]} [questions] */
  #greet(greeting, questions) {
    const words = greeting ? [h('p', { class: 'welcome', dir: 'auto' }, greeting)] : [];
    this.#transcript.greet(...words, ...suggestions(this.#words.suggestions, (text) => this.#pick(text), questions));
  }

  // ---- what the visitor does --------------------------------------------------------------------------------------

  /** @param {string} text */
  #send(text) {
    if (this.#blocked || !this.#conversation.send(text)) return false;
    this.#transcript.toEnd();
    return true;
  }

  /** Says one of the suggestions, which go with that: the focus must not go with them. @param {string} text */
  #pick(text) {
    if (!this.#send(text)) return;
    if (PHONE.matches) this.#dialog.focus();
    else this.#composer.focus();
  }

  /** @param {string} draft */
  #typed(draft) {
    if (draft === (this.#session.kept.draft ?? '')) return;
    this.#session.update({ draft });
    if (draft) this.#conversation.prepare();
  }

  #restart() {
    this.#conversation.restart();
    this.#composer.focus();
  }

  /** Words that were not taken stand before what was typed since. @param {string} text */
  #giveBack(text) {
    this.#composer.text = [text, this.#composer.text].filter(Boolean).join('\n');
  }

  // ---- what the conversation is -----------------------------------------------------------------------------------

  /** Drawn once a frame, however many words arrive in it. */
  #changed() {
    this.#drawn ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawn = 0;
    const { phase, messages, notice, reconnecting } = this.#conversation;
    this.#place.root.dataset.empty = String(!messages.length && phase !== 'loading');
    this.#composer.show({ answering: phase === 'asking' || phase === 'answering', blocked: this.#blocked });
    this.#status.replaceChildren(...(reconnecting ? [h('p', { class: 'late' }, this.#words.reconnecting)] : []), ...(notice ? [this.#notice(notice)] : []));
    this.#transcript.show(messages); // last: what stands below it decides how much of it is seen
  }

  /** @param {import('./conversation.js').Notice} notice */
  #notice({ text, until, retry }) {
    const node = h('div', { class: 'note' }, h('p', { dir: 'auto' }, text));
    if (retry) node.append(h('button', { class: 'link', type: 'button', click: retry }, this.#words.retry));
    if (until) node.append(h('p', { class: 'wait' }, this.#words.wait.replace('{time}', this.#countDown(until))));
    return node;
  }

  /** The time left, in words; asks to be drawn again in a second. @param {number} until */
  #countDown(until) {
    clearTimeout(this.#ticking);
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) queueMicrotask(() => this.#conversation.dismiss());
    else this.#ticking = Number(setTimeout(() => this.#changed(), 1000));
    return duration(Math.max(0, left));
  }

  get #blocked() {
    return (this.#conversation.notice?.until ?? 0) > Date.now();
  }

  /** @param {string} text */
  #announce(text) {
    this.#heard.textContent = text;
  }
}

/** Where the visitor is, without what a query or a fragment may hold. @returns {import('./api.js').Page} */
function page() {
  return { url: (location.origin + location.pathname).slice(0, 2000), title: document.title.slice(0, 300).toWellFormed() };
}

/** `0:09`, `12:34`, `1:02:03`. @param {number} seconds */
function duration(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, at) => (at ? String(part).padStart(2, '0') : part)).join(':');
}
