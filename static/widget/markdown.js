/**
 * Markdown as answers use it, read into plain values: no DOM, no HTML, no remote image. The text is hostile input:
 * what this module returns can hold nothing but the tags below, and links that `safeLink` let through.
 *
 * Reading has two stages, so that a growing answer is cheap to show: `blocks` cuts the text at its top level, `tree`
 * reads one block. A block whose `source` has not changed need not be read again.
 *
 * A `sup` is the marker of a source, as it stands in the text: `[1]`. Whether there is that source, the text cannot know.
 *
 * @typedef {'p'|'h3'|'ul'|'ol'|'li'|'blockquote'|'pre'|'code'|'hr'|'br'|'strong'|'em'|'del'|'a'|'sup'|'table'|'thead'|'tbody'|'tr'|'th'|'td'} Tag
 * @typedef {string | { tag: Tag, children: Node[], href?: string, start?: number }} Node
 * @typedef {{ kind: keyof typeof READ, source: string, lines: string[] }} Block
 */

const DEEPEST = 8; // nesting of quotes and lists; deeper is text

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})/;
const HEADING = /^ {0,3}#{1,6}(?: +|$)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( {1,4}(?! )|(?= *$)|(?= {5}))/;
const BLANK = /^ *$/;
const DIVIDER = /^ {0,3}\|?(?: *:?-+:? *\|)+(?: *:?-+:?)? *$/;

/** How each kind of block is read into a node. */
const READ = {
  /** @param {string[]} lines */
  fence: (lines) => {
    const [, fence] = /** @type {RegExpExecArray} */ (FENCE.exec(lines[0]));
    const closed = lines.length > 1 && closes(lines[lines.length - 1], fence);
    const code = lines.slice(1, closed ? -1 : undefined).join('\n');
    return node('pre', [node('code', [code])]);
  },
  /** @param {string[]} lines */
  heading: ([line]) => node('h3', inline(line.replace(HEADING, '').trimEnd().replace(/(^| )#+$/, '').trim())),
  rule: () => node('hr', []),
  /** @param {string[]} lines @param {number} depth */
  quote: (lines, depth) => node('blockquote', parse(lines.map((line) => line.replace(QUOTE, '')).join('\n'), depth + 1)),
  list,
  table,
  /** @param {string[]} lines */
  text: (lines) => node('p', inline(lines.map((line) => line.trimStart()).join('\n').trimEnd())),
};

/** @param {string} text @param {number} [depth] @returns {Node[]} */
export function parse(text, depth = 0) {
  return blocks(text, depth).map((block) => tree(block, depth));
}

/** @param {Block} block @param {number} [depth] @returns {Node} */
export function tree(block, depth = 0) {
  return READ[block.kind](block.lines, depth);
}

/** @param {string} text @param {number} [depth] @returns {Block[]} */
export function blocks(text, depth = 0) {
  const lines = text.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n');
  /** @type {Block[]} */
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (BLANK.test(lines[at])) {
      at++;
      continue;
    }
    const kind = kindOf(lines, at, depth);
    const end = END[kind](lines, at, depth);
    const own = lines.slice(at, end);
    found.push({ kind, lines: own, source: own.join('\n') });
    at = end;
  }
  return found;
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Block['kind']} */
function kindOf(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return 'fence';
  if (HEADING.test(line)) return 'heading';
  if (RULE.test(line)) return 'rule';
  if (depth < DEEPEST && QUOTE.test(line)) return 'quote';
  if (depth < DEEPEST && ITEM.test(line)) return 'list';
  if (line.includes('|') && at + 1 < lines.length && DIVIDER.test(lines[at + 1])) return 'table';
  return 'text';
}

/**
 * Where a block that begins at `at` ends: the index after its last line.
 * @type {Record<Block['kind'], (lines: string[], at: number, depth: number) => number>}
 */
const END = {
  fence: (lines, at) => {
    const [, fence] = /** @type {RegExpExecArray} */ (FENCE.exec(lines[at]));
    const end = lines.findIndex((line, index) => index > at && closes(line, fence));
    return end < 0 ? lines.length : end + 1;
  },
  heading: (_, at) => at + 1,
  rule: (_, at) => at + 1,
  quote: (lines, at, depth) => until(lines, at, (i) => BLANK.test(lines[i]) || (!QUOTE.test(lines[i]) && interrupts(lines, i, depth))),
  list: (lines, at, depth) => {
    const kind = marker(lines[at]);
    return until(lines, at, (i) => {
      if (BLANK.test(lines[i])) return !BLANK.test(lines[i - 1]) && !goesOn(lines, i, kind);
      if (/^ {2}/.test(lines[i])) return false;
      if (ITEM.test(lines[i]) && !RULE.test(lines[i])) return marker(lines[i]) !== kind;
      return BLANK.test(lines[i - 1]) || interrupts(lines, i, depth);
    });
  },
  table: (lines, at) => until(lines, at, (i) => !lines[i].includes('|')),
  text: (lines, at, depth) => until(lines, at, (i) => BLANK.test(lines[i]) || interrupts(lines, i, depth)),
};

/**
 * Whether a list goes on behind the blank line at `at`: with an indented line, or with an item of its kind.
 * @param {string[]} lines
 * @param {number} at
 * @param {string} kind
 */
function goesOn(lines, at, kind) {
  const line = lines.slice(at).find((each) => !BLANK.test(each)) ?? '';
  return /^ {2}/.test(line) || (ITEM.test(line) && !RULE.test(line) && marker(line) === kind);
}

/** @param {string[]} lines @param {number} at @param {(index: number) => boolean} ends */
function until(lines, at, ends) {
  let end = at + 1;
  while (end < lines.length && !ends(end)) end++;
  return end;
}

/**
 * Whether a line may break into a paragraph: of numbered lists only one that begins with 1, lest "In\n1986. …" be one.
 * @param {string[]} lines
 * @param {number} at
 * @param {number} depth
 */
function interrupts(lines, at, depth) {
  const kind = kindOf(lines, at, depth);
  return kind !== 'text' && (kind !== 'list' || /^ *([-*+]|1[.)]) +\S/.test(lines[at]));
}

/** @param {string} line @param {string} fence */
function closes(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && text === fence[0].repeat(text.length) && /^ {0,3}\S/.test(line);
}

/** The last character of a list's marker tells its kind: `-`, `*`, `+`, `.` or `)`. @param {string} line */
function marker(line) {
  return /** @type {RegExpExecArray} */ (ITEM.exec(line))[2].slice(-1);
}

/** @param {string[]} lines @param {number} depth @returns {Node} */
function list(lines, depth) {
  const kind = marker(lines[0]);
  /** @type {string[][]} */
  const items = [];
  let indent = 0;
  for (const line of lines) {
    const match = ITEM.exec(line);
    const starts = match && !RULE.test(line) && marker(line) === kind && (!items.length || match[1].length < indent);
    if (starts) {
      indent = match[0].length || 2;
      items.push([line.slice(match[0].length)]);
    } else {
      items[items.length - 1].push(line.slice(Math.min(indent, line.length - line.trimStart().length)));
    }
  }
  const loose = items.some((item, i) => item.some((line, j) => BLANK.test(line) && j > 0 && (i < items.length - 1 || j < item.length - 1)));
  const children = items.map((item) => node('li', parse(item.join('\n'), depth + 1).flatMap((child) => (loose ? [child] : bare(child)))));
  if (/[-*+]/.test(kind)) return node('ul', children);
  return { ...node('ol', children), start: parseInt(lines[0].trimStart(), 10) };
}

/** A tight list's paragraphs stand without their tag. @param {Node} child @returns {Node[]} */
function bare(child) {
  return typeof child !== 'string' && child.tag === 'p' ? child.children : [child];
}

/** @param {string[]} lines @returns {Node} */
function table([head, , ...rows]) {
  const columns = cells(head);
  /** @param {string} line */
  const row = (line) => {
    const found = cells(line);
    return node('tr', columns.map((_, i) => node('td', inline(found[i] ?? ''))));
  };
  return node('table', [
    node('thead', [node('tr', columns.map((cell) => node('th', inline(cell))))]),
    node('tbody', rows.map(row)),
  ]);
}

/** @param {string} line */
function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** @typedef {{ mark: string, count: number, opens: boolean, closes: boolean }} Run  emphasis marks that wait for their partner */

// What can begin inside a line. Each pattern is sticky: it is tried at one place only.
const CODE = /(`+)(?!`)([^]*?[^`])\1(?!`)/y;
const LINK = /!?\[((?:[^[\]\\]|\\.|\[[^[\]]{0,200}\]){0,1000})\]\(\s*(<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/y;
const MARKER = /\[[1-9]\d{0,2}]/y;
const BARE = /https?:\/\/[^\s<>"`]+/y;
const ESCAPE = /\\([!-/:-@[-`{-~])/y;
const BREAK = /(?: {2,}|\\)\n/y;
const RUN = /\*+|_+|~~(?!~)/y;
const PLAIN = /[^\\`!\[<*_~h\n ]+| +|[^]/y;

/**
 * @param {string} text
 * @param {boolean} [linked]  inside a link, where no other link may begin
 * @returns {Node[]}
 */
export function inline(text, linked = false) {
  /** @type {(Node | Run)[]} */
  const parts = [];
  for (let at = 0; at < text.length; ) {
    const [part, end] = next(text, at, linked);
    parts.push(...part);
    at = end;
  }
  return joined(emphasised(parts));
}

/** @param {string} text @param {number} at @param {boolean} linked @returns {[(Node | Run)[], number]} */
function next(text, at, linked) {
  /** @type {RegExpExecArray | null} */
  let match = null;
  /** @param {RegExp} pattern */
  const is = (pattern) => {
    pattern.lastIndex = at;
    match = pattern.exec(text);
    return match !== null;
  };
  /** @param {(Node | Run)[]} parts @param {number} [length] @returns {[(Node | Run)[], number]} */
  const found = (parts, length = hit().length) => [parts, at + length];
  /** @param {number} [group] */
  const hit = (group = 0) => /** @type {RegExpExecArray} */ (match)[group];

  if (is(ESCAPE)) return found([hit(1)]);
  if (is(BREAK)) return found([node('br', []), '\n']);
  if (text[at] === '`') return is(CODE) ? found([node('code', [coded(hit(2))])]) : found([...(is(/`+/y) ? hit() : '')]);
  if (is(LINK)) return found(link(hit(2).replace(/^<|>$/g, ''), inline(hit(1), true), linked));
  if (!linked && is(MARKER)) return found([node('sup', [hit()])]);
  if (is(ANGLE)) return found(link(hit(1).includes(':') ? hit(1) : `mailto:${hit(1)}`, [hit(1)], linked));
  if (!/\w/.test(text[at - 1] ?? '') && is(BARE)) {
    const address = untrailed(hit());
    return found(link(address, [address], linked), address.length);
  }
  if (is(RUN)) return found([run(hit(), text[at - 1] ?? ' ', text[at + hit().length] ?? ' ')]);
  is(PLAIN);
  return found([hit()]);
}

/** @param {string} address @param {Node[]} label @param {boolean} linked @returns {Node[]} */
function link(address, label, linked) {
  const href = linked ? null : safeLink(address);
  if (!href) return label;
  return [{ ...node('a', label.length ? label : [address]), href }];
}

/**
 * The address if it may be followed: absolute, and http, https or mailto. The URL parser has the last word, as it will
 * have it at the click; what it cannot read is no link.
 * @param {string} address
 * @returns {string | null}
 */
export function safeLink(address) {
  try {
    const url = new URL(address);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Without the punctuation that ends the sentence, not the address. @param {string} address */
function untrailed(address) {
  let end = address.length;
  while (/[.,;:!?'*_~\])]/.test(address[end - 1]) && !(address[end - 1] === ')' && address.includes('('))) end--;
  return address.slice(0, end);
}

/** @param {string} code */
function coded(code) {
  const flat = code.replaceAll('\n', ' ');
  return /^ .*[^ ].* $/.test(flat) ? flat.slice(1, -1) : flat;
}

/**
 * CommonMark's rule of left- and right-flanking runs.
 * @param {string} marks
 * @param {string} before
 * @param {string} after
 * @returns {Run}
 */
function run(marks, before, after) {
  const space = /\s/u;
  const sign = /[\p{P}\p{S}]/u;
  const left = !space.test(after) && (!sign.test(after) || space.test(before) || sign.test(before));
  const right = !space.test(before) && (!sign.test(before) || space.test(after) || sign.test(after));
  const word = marks[0] === '_';
  return {
    mark: marks[0],
    count: marks.length,
    opens: left && (!word || !right || sign.test(before)),
    closes: right && (!word || !left || sign.test(after)),
  };
}

/**
 * Pairs the runs, innermost first; what finds no partner is text again.
 * @param {(Node | Run)[]} parts
 * @returns {Node[]}
 */
function emphasised(parts) {
  /** @type {(Node | Run)[]} */
  const done = [];
  for (const part of parts) {
    if (isRun(part) && part.closes) close(done, part);
    if (!isRun(part) || part.count) done.push(part);
  }
  return done.map((part) => (isRun(part) ? part.mark.repeat(part.count) : part));
}

/**
 * Closes with `run` what stands open in `done`, while both have marks left.
 * @param {(Node | Run)[]} done
 * @param {Run} run
 */
function close(done, run) {
  for (let at = done.length - 1; at >= 0 && run.count; at--) {
    const open = done[at];
    if (!isRun(open) || !pairs(open, run)) continue;
    while (open.count && run.count) {
      const size = Math.min(open.count, run.count, 2);
      const tag = open.mark === '~' ? 'del' : size === 2 ? 'strong' : 'em';
      const inner = done.splice(at + 1).map((part) => (isRun(part) ? part.mark.repeat(part.count) : part));
      done.push(node(tag, joined(inner)));
      open.count -= size;
      run.count -= size;
    }
    if (!open.count) done.splice(at, 1);
  }
}

/** CommonMark's rule of three keeps `*foo**bar*` whole. @param {Run} open @param {Run} close */
function pairs(open, close) {
  if (open.mark !== close.mark || !open.opens) return false;
  const either = open.closes || close.opens;
  return !either || (open.count + close.count) % 3 !== 0 || (open.count % 3 === 0 && close.count % 3 === 0);
}

/** @param {Node | Run} part @returns {part is Run} */
function isRun(part) {
  return typeof part !== 'string' && 'mark' in part;
}

/** Neighbouring texts become one. @param {Node[]} nodes */
function joined(nodes) {
  /** @type {Node[]} */
  const all = [];
  for (const each of nodes) {
    const last = all[all.length - 1];
    if (typeof each === 'string' && typeof last === 'string') all[all.length - 1] = last + each;
    else all.push(each);
  }
  return all;
}

/** @param {Tag} tag @param {Node[]} children */
function node(tag, children) {
  return { tag, children };
}

/** The text as it would be read aloud. @param {Node[]} nodes @returns {string} */
export function spoken(nodes) {
  return nodes.map((each) => (typeof each === 'string' ? each : spoken(each.children) + (BLOCKS.has(each.tag) ? '\n' : ''))).join('');
}

const BLOCKS = new Set(['p', 'h3', 'li', 'pre', 'blockquote', 'tr', 'td', 'th']);

/**
 * A growing text as it will probably look: without the half of a link that it ends in, and with the emphasis closed that
 * it has just begun, so that nothing flashes by.
 * @param {string} text
 */
export function steady(text) {
  return text
    .trimEnd()
    .replace(/(?:!?\[[^[\]\n]{0,200}(?:\](?:\([^()\s]{0,500})?)?|[*_~`]{1,3})$/, '')
    .replace(/(?:^|[\s(])(\*{1,3}|_{1,2}|`)(?=[^\s*_`])[^*_`\n]*$/, '$&$1');
}
