import assert from 'node:assert/strict';
import { test } from 'node:test';

const world = new EventTarget();
globalThis.addEventListener = world.addEventListener.bind(world);
globalThis.document = /** @type {any} */ (Object.assign(new EventTarget(), { hidden: false }));

const { follow } = await import('../../static/widget/stream.js');

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A line that says `text` and then nothing, until it is aborted. @param {string} text @param {AbortSignal} signal */
function line(text, signal) {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      signal.addEventListener('abort', () => controller.error(signal.reason));
    },
  });
  return new Response(body);
}

const START = 'id: 0-1\nevent: start\ndata: {"turn":"t"}\n\n';

test('it leaves a line that is silent for too long, and not before', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  /** @type {string[]} */
  const asked = [];
  const end = new AbortController();
  const events = follow(async (turn, after, signal) => (asked.push(`${turn}/${after}`), line(asked.length > 1 ? '' : START, signal)), { signal: end.signal });
  assert.equal((await events.next()).value?.event, 'start');
  events.next();
  await settled();
  t.mock.timers.tick(39_000);
  await settled();
  t.mock.timers.tick(900);
  await settled();
  assert.deepEqual(asked, ['/']);
  t.mock.timers.tick(101);
  await settled();
  t.mock.timers.tick(500);
  await settled();
  assert.deepEqual(asked, ['/', 't/0-1']);
  end.abort();
});

test('it waits longer after each failure, up to a quarter of a minute, and gives up at last', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => 1);
  /** @type {number[]} */
  const times = [];
  const failing = follow(async () => (times.push(Date.now()), Promise.reject(new TypeError('Failed to fetch'))), { signal: new AbortController().signal });
  const end = assert.rejects(failing.next(), TypeError);
  for (let second = 0; second < 80; second++) {
    await settled();
    t.mock.timers.tick(500);
  }
  await end;
  const waits = times.slice(1).map((time, at) => time - times[at]);
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000]);
});

test('it tries at once when the page is looked at again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let asked = 0;
  const end = new AbortController();
  follow(async () => (asked++, Promise.reject(new TypeError('Failed to fetch'))), { signal: end.signal }).next();
  await settled();
  assert.equal(asked, 1);
  document.dispatchEvent(new Event('visibilitychange'));
  await settled();
  assert.equal(asked, 2);
  end.abort();
});

test('it ends without a word when it is aborted', async () => {
  const end = new AbortController();
  const events = follow(async (_turn, _after, signal) => line(START, signal), { signal: end.signal });
  await events.next();
  const rest = events.next();
  end.abort();
  assert.deepEqual(await rest, { value: undefined, done: true });
});
