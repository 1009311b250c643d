/**
 * The only script on the host page: shows the launcher, and fetches the panel when somebody means to open it. Until
 * then it asks for nothing and writes nothing. Included twice, moved, or swept away with the body, it does no harm.
 *
 *     <script src="https://HOST/widget.js" data-site="KEY" async></script>
 */

(() => {
  /**
   * @typedef {{ server: string, site: string, locale: string, theme: import('./api.js').Theme }} Options  `server` ends in a slash
   * @typedef {{ isOpen: boolean, open(options: { focus: boolean }): void, close(): void, settle(): void }} Panel
   */
  const TAG = 'parlance-chat';
  const script = /** @type {HTMLScriptElement | null} */ (
    document.currentScript ?? document.querySelector('script[data-site][src*="widget.js"]')
  );
  if (!script?.dataset.site) return console.warn('Parlance: the script tag needs data-site="…".');

  const css = /* css */ `
    :host {
      all: initial !important;
      display: contents !important;
      --parlance-accent: #2f5fd0; /* The brand's colour: launcher, send button, links; darkened or lightened where text needs it. */
      --parlance-font: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; /* The face of all text but the greeting. */
      --parlance-gap: 20px; /* The distance from the window's edges. */
      --parlance-launcher: 60px; /* The launcher's size. */
      --parlance-layer: 2147483000; /* The z-index of launcher and panel. */
    }
    .root {
      all: initial;
      display: contents;
      color-scheme: light dark;
      font: 16px/1.55 var(--parlance-font);
      --on-accent: oklch(from var(--parlance-accent) clamp(0, (.66 - l) * 1000, 1) 0 0);
      --link: light-dark(oklch(from var(--parlance-accent) min(l, .5) c h), oklch(from var(--parlance-accent) max(l, .78) min(c, .13) h));
    }
    .root[data-scheme=light] { color-scheme: light }
    .root[data-scheme=dark] { color-scheme: dark }
    .launcher {
      all: unset;
      position: fixed;
      bottom: calc(var(--parlance-gap) + env(safe-area-inset-bottom));
      right: calc(var(--parlance-gap) + env(safe-area-inset-right));
      z-index: var(--parlance-layer);
      box-sizing: border-box;
      width: var(--parlance-launcher);
      height: var(--parlance-launcher);
      padding: 15px;
      border: 1px solid transparent;
      border-radius: 50% 50% 10px;
      background: var(--parlance-accent);
      color: #fff;
      color: var(--on-accent);
      box-shadow: 0 1px 2px #0003, 0 8px 28px -6px #0006;
      cursor: pointer;
      transition: translate .2s, border-radius .3s;
      -webkit-tap-highlight-color: transparent;
    }
    [data-position=left] .launcher { left: calc(var(--parlance-gap) + env(safe-area-inset-left)); right: auto; border-radius: 50% 50% 50% 10px }
    .launcher:hover { translate: 0 -2px }
    .launcher[aria-expanded=true] { border-radius: 50% }
    .launcher:focus-visible { outline: 3px solid var(--link); outline-offset: 3px }
    svg { display: block; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round }
    .launcher[aria-expanded=true] > :first-child, .launcher[aria-expanded=false] > :last-child { display: none }
    @media (prefers-reduced-motion: reduce) { .launcher { transition: none } }
    @media print { .root { display: none } }
  `;
  const style = new CSSStyleSheet();
  style.replaceSync(css);

  /** @type {Map<string, ParlanceChat>} */
  const all = new Map();

  class ParlanceChat extends HTMLElement {
    /** @type {Options} */
    options = { server: '', site: '', locale: '', theme: {} };
    #shadow = this.attachShadow({ mode: 'open' });
    #theme = new CSSStyleSheet();
    /** @type {AbortController | null} */
    #life = null;
    /** @type {Promise<Panel> | null} */
    #panel = null;
    /** @type {HTMLElement} */
    #root = document.createElement('section');
    /** @type {HTMLElement} */
    #launcher = document.createElement('button');

    connectedCallback() {
      if (all.get(this.options.site) !== this) return this.remove(); // a copy, from a framework's snapshot of the page
      if (this.#life) return this.#panel?.then((panel) => panel.settle()); // moved with its page: nothing has stopped
      this.#life = new AbortController();
      this.#launch(this.#life.signal);
    }

    disconnectedCallback() {
      setTimeout(() => {
        if (this.isConnected) return;
        this.#life?.abort();
        this.#life = this.#panel = null;
        this.#shadow.replaceChildren();
      });
    }

    /** @param {{ focus: boolean }} [how] */
    async open(how = { focus: true }) {
      const panel = await this.#load();
      if (this.#life) panel.open(how);
    }

    async close() {
      (await this.#panel)?.close();
    }

    async toggle() {
      if ((await this.#panel)?.isOpen) return this.close();
      return this.open();
    }

    /** @param {AbortSignal} signal */
    #launch(signal) {
      const { locale, theme } = this.options;
      const language = languageOf(locale);
      const kept = this.#kept();
      const root = (this.#root = document.createElement('section'));
      const launcher = (this.#launcher = document.createElement('button'));
      const { accent = '', scheme = 'auto', position = 'right' } = { ...theme, ...kept.theme };
      if (CSS.supports('color', accent)) this.#theme.replaceSync(`:host{--parlance-accent:${accent}}`);
      root.className = 'root';
      Object.assign(root.dataset, { scheme, position });
      root.lang = language;
      root.dir = /^(ar|fa|he|ur)/.test(language) ? 'rtl' : 'ltr';
      launcher.className = 'launcher';
      launcher.append(icon('M5.5 9.5h13M5.5 14.5h8'), icon('m7 10 5 5 5-5'));
      for (const each of [root, launcher]) each.setAttribute('aria-label', PARLANCE_LANGUAGES[language]);
      launcher.setAttribute('aria-haspopup', 'dialog');
      launcher.setAttribute('aria-expanded', 'false');
      launcher.addEventListener('click', () => this.toggle(), { signal });
      for (const intent of ['pointerenter', 'focus', 'touchstart']) {
        launcher.addEventListener(intent, () => this.#load().catch(() => {}), { signal, passive: true });
      }
      root.append(launcher);
      this.#shadow.adoptedStyleSheets = [style, this.#theme];
      this.#shadow.append(root);
      if (kept.open && (!matchMedia('(max-width: 520px)').matches || reloaded())) this.open({ focus: false });
    }

    #load() {
      this.#panel ??= this.#build();
      this.#panel.catch(() => (this.#panel = null)); // the next try asks again
      return this.#panel;
    }

    /** @returns {Promise<Panel>} */
    async #build() {
      const { server, site, locale } = this.options;
      const { signal } = /** @type {AbortController} */ (this.#life);
      const parts = ['panel', `words/${languageOf(locale)}`].map((name) => import(`${server}${PARLANCE_ASSETS}${name}.js`));
      const [{ build }, { default: words }] = await Promise.all(parts);
      return build({ server, site, locale, root: this.#root, shadow: this.#shadow, launcher: this.#launcher, signal }, words);
    }

    /** What the visitor's earlier pages kept, if there were any. @returns {import('./session.js').Kept} */
    #kept() {
      try {
        return JSON.parse(localStorage.getItem(`parlance:${this.options.site}`) ?? '{}');
      } catch {
        return {};
      }
    }

    /** @param {Options} options */
    static add(options) {
      let chat = all.get(options.site);
      if (!chat) {
        chat = /** @type {ParlanceChat} */ (document.createElement(TAG));
        chat.options = options;
        all.set(options.site, chat);
      }
      if (!chat.isConnected) document.body.append(chat);
    }
  }

  /** @param {string} d */
  function icon(d) {
    const [svg, path] = ['svg', 'path'].map((name) => document.createElementNS('http://www.w3.org/2000/svg', name));
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    path.setAttribute('d', d);
    svg.append(path);
    return svg;
  }

  /** The first language of the visitor's that we have: what the page says, then what the browser says. @param {string} locale */
  function languageOf(locale) {
    const wanted = [locale, ...navigator.languages].map((tag) => tag.toLowerCase().split('-')[0]);
    return wanted.find((language) => Object.hasOwn(PARLANCE_LANGUAGES, language)) ?? 'en';
  }

  /** Whether this page was loaded anew. On a phone, where the panel covers the page, only then does it open by itself. */
  function reloaded() {
    const [entry] = performance.getEntriesByType('navigation');
    return /** @type {PerformanceNavigationTiming} */ (entry)?.type === 'reload';
  }

  const { site, locale, accent, scheme, position } = script.dataset;
  const options = {
    server: new URL('.', script.src).href,
    site,
    locale: [locale, document.documentElement.lang, navigator.language].find((tag) => /^[a-z]{2,3}(-[a-z\d]{1,8})*$/i.test(tag ?? '')) ?? '',
    theme: { ...(accent && { accent }), ...(scheme && { scheme }), ...(position && { position }) },
  };
  const place = () => /** @type {typeof ParlanceChat} */ (customElements.get(TAG)).add(options);
  const ready = () => (document.body ? place() : addEventListener('DOMContentLoaded', place, { once: true }));

  if (customElements.get(TAG)) return ready();
  customElements.define(TAG, ParlanceChat);

  // Frameworks that change pages by changing the body (Turbo, Astro) take the widget along.
  new MutationObserver(() => all.forEach((chat) => chat.isConnected || document.body?.append(chat))).observe(document.documentElement, { childList: true });

  /** What a page may call, on the first widget of the page; also as `Parlance.push(['open'])`, which works before we are here. */
  const first = () => [...all.values()][0];
  /** @type {Record<string, (...values: any[]) => void>} */
  const api = {
    open: () => first()?.open(),
    close: () => first()?.close(),
    toggle: () => first()?.toggle(),
    push: (...calls) => calls.forEach(([name, ...values]) => Object.hasOwn(api, name) && api[name](...values)),
  };
  const page = /** @type {{ Parlance?: unknown }} */ (/** @type {unknown} */ (window));
  const waiting = page.Parlance;
  page.Parlance = Object.freeze(api);
  ready();
  if (Array.isArray(waiting)) api.push(...waiting);
})();
