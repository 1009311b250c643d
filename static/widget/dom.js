/**
 * The document, made of nodes: no `innerHTML`, no inline style, nothing that Trusted Types would have to bless.
 *
 * @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Attribute
 * @typedef {import('./api.js').Source} Source
 */

import { blocks, steady, tree } from './markdown.js';

/**
 * An element. A function among the attributes listens to the event of that name; `true` is an empty attribute, `false`
 * and nothing are none.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Attribute>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** An icon of one stroked path, 24 units square; the words beside it or on its button say what it means. @param {string} d */
export function icon(d) {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', d);
  svg.append(path);
  return svg;
}

/** A link that leaves the page alone: a new tab, no opener, no endorsement. @param {string} href @param {...(Node | string)} children */
export function outward(href, ...children) {
  return h('a', { href, target: '_blank', rel: 'noopener nofollow' }, ...children);
}

/** The label of something elsewhere: a link to it, if it has an address on the web. @param {string} label @param {string} [url] */
export function linked(label, url = '') {
  return /^https?:[/]{2}/i.test(url) ? outward(url, label) : label;
}

/** Markdown in an element. Showing a longer text again touches only the blocks that changed. */
export class Rendered {
  element = h('div', { class: 'prose', dir: 'auto' });
  /** @type {string[]} */
  #shown = [];
  /** @type {Source[] | undefined} */
  #sources;

  /** @param {string} text @param {boolean} growing @param {Source[]} [sources] */
  show(text, growing, sources) {
    if (sources !== this.#sources) this.#shown = []; // a marker may have got its source
    this.#sources = sources;
    const all = blocks(growing ? steady(text) : text);
    all.forEach((block, at) => {
      const source = block.kind + block.source;
      if (this.#shown[at] === source) return;
      this.#shown[at] = source;
      const made = toDom(tree(block), sources);
      const old = this.element.childNodes[at];
      if (old) old.replaceWith(made);
      else this.element.append(made);
    });
    while (this.element.childNodes.length > all.length) this.element.lastChild?.remove();
    this.#shown.length = all.length;
  }
}

/** @param {import('./markdown.js').Node} node @param {Source[]} [sources] @returns {Node} */
function toDom(node, sources = []) {
  if (typeof node === 'string') return document.createTextNode(node);
  if (node.tag === 'sup') return cited(String(node.children), sources);
  const children = node.children.map((child) => toDom(child, sources));
  if (node.href) return outward(node.href, ...children);
  const element = h(node.tag, { dir: DIRECTED.has(node.tag) && 'auto', start: node.start }, ...children);
  return SCROLLS.has(node.tag) ? h('div', { class: 'wide', tabindex: 0 }, element) : element;
}

/** The marker `[1]`, raised, if there is a source 1; else it is text like any other. @param {string} text @param {Source[]} sources */
function cited(text, sources) {
  const source = sources.find(({ n }) => text === `[${n}]`);
  return source ? h('sup', { title: source.title }, linked(text, source.url)) : document.createTextNode(text);
}

const DIRECTED = new Set(['p', 'h3', 'li', 'td', 'th']);
const SCROLLS = new Set(['pre', 'table']); // wider than the panel at times, so the keyboard must reach and scroll them
