import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventParser } from '../../static/widget/sse.js';

const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {Uint8Array} bytes @param {number[]} cuts */
function read(bytes, ...cuts) {
  const parser = new EventParser();
  const edges = [0, ...cuts, bytes.length];
  return edges.slice(1).flatMap((end, at) => parser.push(bytes.slice(edges[at], end)));
}

const STREAM = encode(
  ': still here\n\nid: 0-1\nevent: start\ndata: {"turn":"t_1"}\n\n' +
    'id: 0-2\nevent: text\ndata: {"text":"Grüße 👋🏽 \u2028 [DONE] \r"}\n\n: still here\n\nid: 1-0\nevent: reset\ndata: {}\n\n',
);
const EVENTS = [
  { id: '0-1', event: 'start', data: '{"turn":"t_1"}' },
  { id: '0-2', event: 'text', data: '{"text":"Grüße 👋🏽 \u2028 [DONE] \r"}' },
  { id: '1-0', event: 'reset', data: '{}' },
];

test('it reads events, their ids and data, and skips comments', () => {
  assert.deepEqual(read(STREAM), EVENTS);
});

test('it reads the same events wherever the bytes are cut, inside a character too', () => {
  for (let cut = 0; cut <= STREAM.length; cut++) assert.deepEqual(read(STREAM, cut), EVENTS, `cut at ${cut}`);
});

test('it reads the same events from every two cuts', () => {
  for (let a = 0; a < STREAM.length; a += 3) {
    for (let b = a; b < STREAM.length; b += 7) assert.deepEqual(read(STREAM, a, b), EVENTS, `cut at ${a} and ${b}`);
  }
});

test('it reads the same events from single bytes', () => {
  assert.deepEqual(read(STREAM, ...Array.from(STREAM, (_, at) => at)), EVENTS);
});

test('it ends lines at LF alone', () => {
  const [event] = read(encode('data: a\u2028b\u2029c\u0085d\re\n\n'));
  assert.equal(event.data, 'a\u2028b\u2029c\u0085d\re');
});

test('it joins several data lines, and takes one space after the colon away', () => {
  assert.deepEqual(read(encode('data:a\ndata:  b\ndata\n\n')), [{ id: '', event: 'message', data: 'a\n b\n' }]);
});

test('it keeps an event back until its blank line has come', () => {
  assert.deepEqual(read(encode('id: 1\ndata: half\n')), []);
});

test('it gives no event without data, but its id counts from there on', () => {
  assert.deepEqual(read(encode('id: 7\nevent: ping\n\ndata: x\n\n')), [{ id: '7', event: 'message', data: 'x' }]);
});

test('it ignores fields that it does not know', () => {
  assert.deepEqual(read(encode('retry: 10\nfoo: bar\n__proto__: x\ndata: x\n\n')), [{ id: '', event: 'message', data: 'x' }]);
});
