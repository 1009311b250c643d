import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, safeLink, spoken, steady } from '../../static/widget/markdown.js';

/** The nodes as HTML, for reading in tests only; the widget never makes any. @param {any} node @returns {string} */
function html(node) {
  if (Array.isArray(node)) return node.map(html).join('');
  if (typeof node === 'string') return node.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const attributes = (node.href ? ` href="${node.href}"` : '') + (node.start > 1 ? ` start="${node.start}"` : '');
  return ['br', 'hr'].includes(node.tag) ? `<${node.tag}>` : `<${node.tag}${attributes}>${html(node.children)}</${node.tag}>`;
}

/** @param {any} nodes @returns {any[]} */
const all = (nodes) => nodes.flatMap((/** @type {any} */ node) => (typeof node === 'string' ? [] : [node, ...all(node.children)]));

/** @type {[string, string][]} what it reads as what */
const READS = [
  ['Hello', '<p>Hello</p>'],
  ['a\n\nb', '<p>a</p><p>b</p>'],
  ['a\nb', '<p>a\nb</p>'],
  ['a  \nb', '<p>a<br>\nb</p>'],
  ['a\\\nb', '<p>a<br>\nb</p>'],
  ['**bold** and *it*', '<p><strong>bold</strong> and <em>it</em></p>'],
  ['__bold__ and _it_', '<p><strong>bold</strong> and <em>it</em></p>'],
  ['***both***', '<p><em><strong>both</strong></em></p>'],
  ['**a *b* c**', '<p><strong>a <em>b</em> c</strong></p>'],
  ['*foo**bar*', '<p><em>foo**bar</em></p>'],
  ['**foo*bar**', '<p><strong>foo*bar</strong></p>'],
  ['foo_bar_baz', '<p>foo_bar_baz</p>'],
  ['2 * 3 * 4', '<p>2 * 3 * 4</p>'],
  ['**not closed', '<p>**not closed</p>'],
  ['*a _b* c_', '<p><em>a _b</em> c_</p>'],
  ['~~gone~~ but ~this~', '<p><del>gone</del> but ~this~</p>'],
  ['`a*b*`', '<p><code>a*b*</code></p>'],
  ['`` a`b ``', '<p><code>a`b</code></p>'],
  ['`open', '<p>`open</p>'],
  ['\\*not\\* \\[x]', '<p>*not* [x]</p>'],
  ['# One\n### Three ##', '<h3>One</h3><h3>Three</h3>'],
  ['#hashtag', '<p>#hashtag</p>'],
  ['---', '<hr>'],
  ['- a\n- b', '<ul><li>a</li><li>b</li></ul>'],
  ['- a\n\n- b', '<ul><li><p>a</p></li><li><p>b</p></li></ul>'],
  ['- a\n  - b\n  - c\n- d', '<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>'],
  ['3. a\n4. b', '<ol start="3"><li>a</li><li>b</li></ol>'],
  ['1. a\n\n   more\n2. b', '<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>'],
  ['- a\n1. b', '<ul><li>a</li></ul><ol><li>b</li></ol>'],
  ['* a\n* * *\n* b', '<ul><li>a</li></ul><hr><ul><li>b</li></ul>'],
  ['So:\n- a\n- b', '<p>So:</p><ul><li>a</li><li>b</li></ul>'],
  ['Born in\n1986. A good year', '<p>Born in\n1986. A good year</p>'],
  ['-', '<ul><li></li></ul>'],
  ['> a\nb\n\nc', '<blockquote><p>a\nb</p></blockquote><p>c</p>'],
  ['> - a\n> - b', '<blockquote><ul><li>a</li><li>b</li></ul></blockquote>'],
  ['```js\nlet a = "*b*";\n\nb\n```\nafter', '<pre><code>let a = "*b*";\n\nb</code></pre><p>after</p>'],
  ['~~~\n```\n~~~', '<pre><code>```</code></pre>'],
  ['```\nnever closed', '<pre><code>never closed</code></pre>'],
  ['```', '<pre><code></code></pre>'],
  ['| a | b |\n|---|:-:|\n| *1* | 2 |\n| 3 |', '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><em>1</em></td><td>2</td></tr><tr><td>3</td><td></td></tr></tbody></table>'],
  ['a | b', '<p>a | b</p>'],
  ['[x](https://a.example/b)', '<p><a href="https://a.example/b">x</a></p>'],
  ['[*x*](<https://a.example/b c> "t")', '<p><a href="https://a.example/b%20c"><em>x</em></a></p>'],
  ['[x](https://a.example/(b)) y', '<p><a href="https://a.example/(b)">x</a> y</p>'],
  ['[x](mailto:a@b.example)', '<p><a href="mailto:a@b.example">x</a></p>'],
  ['<https://a.example> <a@b.example>', '<p><a href="https://a.example/">https://a.example</a> <a href="mailto:a@b.example">a@b.example</a></p>'],
  ['See https://a.example/b_c_d.', '<p>See <a href="https://a.example/b_c_d">https://a.example/b_c_d</a>.</p>'],
  ['(https://a.example/x)', '<p>(<a href="https://a.example/x">https://a.example/x</a>)</p>'],
  ['**https://a.example**', '<p><strong><a href="https://a.example/">https://a.example</a></strong></p>'],
  ['[a [b](https://b.example) c](https://c.example)', '<p><a href="https://c.example/">a b c</a></p>'],
  ['Here [1], and there[2][30].', '<p>Here <sup>[1]</sup>, and there<sup>[2]</sup><sup>[30]</sup>.</p>'],
  ['- **a [1]**', '<ul><li><strong>a <sup>[1]</sup></strong></li></ul>'],
  ['`a[1]` \\[1] [0] [01] [1000] [-1] [1a] [1, 2]', '<p><code>a[1]</code> [1] [0] [01] [1000] [-1] [1a] [1, 2]</p>'],
  ['[1](https://a.example) [a [1] b](https://a.example)', '<p><a href="https://a.example/">1</a> <a href="https://a.example/">a [1] b</a></p>'],
  ['![A cat](https://a.example/cat.png)', '<p><a href="https://a.example/cat.png">A cat</a></p>'],
  ['a\u2028b', '<p>a\u2028b</p>'],
];

for (const [source, expected] of READS) {
  test(`it reads ${JSON.stringify(source)}`, () => assert.equal(html(parse(source)), expected));
}

const SCRIPTS = [
  'javascript:alert(1)', 'JAVASCRIPT:alert(1)', 'JaVaScRiPt:alert(1)', ' javascript:alert(1)', '\tjavascript:alert(1)',
  'java\nscript:alert(1)', 'java\tscript:alert(1)', '\u0000javascript:alert(1)', '\u0001javascript:alert(1)', 'javascript\n:alert(1)',
  'javascript://https://a.example/%0aalert(1)', 'javascript&colon;alert(1)', 'javascript&#58;alert(1)', '&#106;avascript:alert(1)',
  'java%73cript:alert(1)', '\\javascript:alert(1)', 'vbscript:msgbox(1)', 'VBScript:msgbox(1)', 'data:text/html,<script>alert(1)</script>',
  'data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==', 'data:image/svg+xml,<svg onload=alert(1)>', 'DATA:text/html,x', 'blob:https://a.example/1',
  'file:///etc/passwd', 'ftp://a.example', 'filesystem:https://a.example/x', 'about:blank', 'view-source:https://a.example', 'ws://a.example',
  'intent://a#Intent;end', 'chrome://settings', 'tel:+1', 'sms:+1', 'feed:javascript:alert(1)', 'jar:https://a.example!/', 'ms-settings:x',
  '//a.example', '/relative', '../up', '#here', '?query', 'a.example', 'http:', 'https://', 'http://[', 'javascript：alert(1)', 'x:y', '',
];

for (const address of SCRIPTS) {
  test(`it makes no link of ${JSON.stringify(address)}`, () => {
    assert.equal(safeLink(address), null);
    const forms = [`[x](${address})`, `[x](<${address}>)`, `![x](${address})`, `<${address}>`, `[x](${address} "t")`, `[x][1]\n\n[1]: ${address}`];
    for (const source of forms) {
      for (const { tag, href } of all(parse(source))) {
        assert.ok(tag !== 'a' || /^(https?|mailto):/.test(href), `${source} became a link to ${href}`);
      }
    }
  });
}

const MARKUP = [
  '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '<svg onload=alert(1)>', '<iframe src=javascript:alert(1)>', '<a href="javascript:alert(1)">x</a>',
  '<style>*{display:none}</style>', '<math><mi xlink:href="javascript:alert(1)">', '<!-- --><b>', '<![CDATA[x]]>', '<?php x ?>', '<details open ontoggle=alert(1)>',
  '</p><script>alert(1)</script>', '`<img onerror=alert(1)>`', '| <b> | x |\n|-|-|\n| <i onclick=x> | y |', '> <script>\n> alert(1)', '- <object data=x>',
  '<a href="https://a.example" onclick=alert(1)>x</a>', '[<img src=x onerror=alert(1)>](https://a.example)', '&lt;script&gt;', '<b\n>x</b>',
];

for (const source of MARKUP) {
  test(`it keeps ${JSON.stringify(source)} as text`, () => {
    const known = ['p', 'a', 'code', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'blockquote', 'ul', 'li'];
    for (const { tag } of all(parse(source))) assert.ok(known.includes(tag), tag);
    const words = (/** @type {string} */ text) => text.replace(/[^a-z]/gi, '').replace('httpsaexample', '');
    assert.equal(words(spoken(parse(source))), words(source));
  });
}

test('it normalises an address, so that what is shown at the click is what is fetched', () => {
  assert.equal(safeLink('HTTPS://A.example/a b'), 'https://a.example/a%20b');
  assert.equal(safeLink('https://a.example/"><script>'), 'https://a.example/%22%3E%3Cscript%3E');
});

test('it reads every beginning of a text, and loses no word of it', () => {
  const words = (/** @type {string} */ text) => text.replace(/[^a-z]/g, '');
  const text = '# An *answer*\n\nwith **bold words**, `code` and\n\n- a list\n  - within a list\n\n> and a quote';
  for (let end = 0; end <= text.length; end++) {
    const source = text.slice(0, end);
    assert.equal(words(spoken(parse(steady(source)))), words(source), JSON.stringify(source));
  }
});

test('it closes what has just begun, and holds half a link back', () => {
  assert.equal(html(parse(steady('We are **open'))), '<p>We are <strong>open</strong></p>');
  assert.equal(html(parse(steady('See `F12'))), '<p>See <code>F12</code></p>');
  assert.equal(steady('See [our pa'), 'See ');
  assert.equal(steady('See [our page](https://a.exa'), 'See ');
  assert.equal(steady('See [our page](https://a.example) and'), 'See [our page](https://a.example) and');
  assert.equal(steady('Until six [1'), 'Until six ');
  assert.equal(steady('5 * 3'), '5 * 3');
});

const HEAVY = {
  'opening brackets': '['.repeat(50_000),
  'bracket pairs': '[]('.repeat(20_000),
  'open emphasis': '*a '.repeat(10_000),
  'paired emphasis': '*a*'.repeat(10_000),
  'mixed emphasis': '*a _b **c __d '.repeat(4_000),
  'quotes': '>'.repeat(50_000),
  'nested lists': Array.from({ length: 300 }, (_, depth) => `${' '.repeat(depth * 2)}- a`).join('\n'),
  'loose lists': '- a\n\n'.repeat(5_000),
  'back-ticks': Array.from({ length: 300 }, (_, length) => '`'.repeat(length + 1)).join(' '),
  'blank lines': `- a${'\n'.repeat(50_000)}x`,
  'spaces': `a${' '.repeat(50_000)}b`,
  'trailing punctuation': `https://a.example/${')'.repeat(50_000)}`,
  'markers': '[1]'.repeat(20_000),
  'half links': '[a](https://'.repeat(5_000),
  'pipes': `${'|'.repeat(20_000)}\n${'-|'.repeat(20_000)}`,
};

for (const [name, text] of Object.entries(HEAVY)) {
  test(`it is not slowed by ${name}`, () => {
    const began = performance.now();
    parse(steady(text));
    assert.ok(performance.now() - began < 1_500, `${Math.round(performance.now() - began)} ms`);
  });
}
