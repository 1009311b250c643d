import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

// What the modules use of a window: events of the network and of visibility, which a test can bring about.
const world = new EventTarget();
globalThis.addEventListener = world.addEventListener.bind(world);
globalThis.document = /** @type {any} */ (Object.assign(new EventTarget(), { hidden: false }));

const { Api } = await import('../../static/widget/api.js');
const { Conversation } = await import('../../static/widget/conversation.js');
const { Session } = await import('../../static/widget/session.js');

/** @typedef {{ method: string, path: string, body: any, headers: Record<string, string> }} Call */

class MemoryStorage {
  /** @type {Map<string, string>} */
  entries = new Map();
  getItem = (/** @type {string} */ key) => this.entries.get(key) ?? null;
  setItem = (/** @type {string} */ key, /** @type {string} */ value) => void this.entries.set(key, value);
}

/** A transport with an answer for each call, in order; the last one for a call stays. */
class Server {
  /** @type {Call[]} */
  calls = [];
  /** @type {Record<string, (() => Response | Promise<Response>)[]>} */
  answers = {
    'POST sessions': [() => json({ token: 'tok', expires_at: '2099-01-01T00:00:00Z', visitor: { id: 'v' }, conversation: { id: 'c', messages: [] } }, 201)],
    'GET conversation': [() => json({ id: 'c', messages: [] })],
  };

  /** @param {string} call @param {...(() => Response | Promise<Response>)} answers */
  on(call, ...answers) {
    this.answers[call] = answers;
    return this;
  }

  /** @type {typeof fetch} */
  fetch = async (url, init = {}) => {
    const method = init.method ?? 'GET';
    const path = String(url).replace('https://host.example/v1/', '');
    this.calls.push({ method, path, body: init.body && JSON.parse(String(init.body)), headers: /** @type {any} */ (init.headers) });
    const answers = this.answers[`${method} ${path}`] ?? [() => problem(404, 'not_found')];
    return /** @type {() => Response} */ (answers.length > 1 ? answers.shift() : answers[0])();
  };

  /** @param {string} call */
  to(call) {
    return this.calls.filter(({ method, path }) => `${method} ${path}` === call);
  }
}

const json = (/** @type {unknown} */ body, status = 200) => new Response(JSON.stringify(body), { status });
const problem = (/** @type {number} */ status, /** @type {string} */ code, more = {}) => json({ code, detail: `Sorry: ${code}.`, ...more }, status);
const offline = () => Promise.reject(new TypeError('Failed to fetch'));

/** A stream of events `[id, event, data]`; "cut" breaks it, and without an end event it just ends. */
function stream(/** @type {([string, string, unknown] | 'cut')[]} */ ...events) {
  return () =>
    new Response(
      new ReadableStream({
        start(controller) {
          for (const event of events) {
            if (event === 'cut') return setImmediate(() => controller.error(new TypeError('network error')));
            const [id, name, data] = event;
            controller.enqueue(new TextEncoder().encode(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`));
          }
          controller.close();
        },
      }),
    );
}

/** @type {[string, string, unknown]} */
const START = ['0-1', 'start', { turn: 't', conversation: 'c', message: 'm' }];
/** @type {(n: number, text: string) => [string, string, unknown]} */
const text = (n, words) => [`0-${n}`, 'text', { text: words }];
/** @type {(n: number, text: string, state?: string) => [string, string, unknown]} */
const done = (n, words, state = 'complete') => [`0-${n}`, 'done', { message: 'm', state, stop_reason: 'end_turn', text: words }];

/** @type {(n: number, id: string, state: string) => [string, string, unknown]} */
const tool = (n, id, state) => [`0-${n}`, 'tool', { id, label: 'Looking', state }];
/** @type {(n: number, ...replies: string[]) => [string, string, unknown]} */
const replies = (n, ...replies) => [`0-${n}`, 'suggestions', { replies }];

/** A conversation on a server; `until` waits for a state, and brings the network back whenever it is missed. */
class Visit {
  /** @type {string[]} */
  heard = [];
  /** @type {string[]} */
  givenBack = [];
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #end = new AbortController();
  reconnections = 0;
  /** @type {import('../../static/widget/conversation.js').ToolUse[][]}  what was being looked up, at each change */
  drawn = [];

  /** @param {Server} server @param {import('../../static/widget/session.js').Kept} [kept] */
  constructor(server, kept = {}, storage = new MemoryStorage()) {
    this.session = new Session('fern', /** @type {any} */ (storage));
    this.session.update(kept);
    this.conversation = new Conversation({
      api: new Api('https://host.example/', () => this.session.kept.token, server.fetch),
      session: this.session,
      words: { fresh: 'A new one begins.', unreachable: 'Out of reach.', asked: 'A person was asked.', passages: 'This may help:', replies: 'Replies' },
      about: () => ({ site: 'fern', locale: 'en', page: { url: 'https://fern.example/', title: 'Fern' } }),
      hooks: {
        changed: () => this.#changed(),
        announce: (words) => this.heard.push(words),
        giveBack: (words) => this.givenBack.push(words),
      },
      signal: this.#end.signal,
    });
  }

  #changed() {
    this.drawn.push(this.conversation.messages.at(-1)?.tools ?? []);
    if (this.conversation.reconnecting) {
      this.reconnections++;
      this.#revive();
    }
    for (const check of this.#waiting) check();
  }

  #revive() {
    setImmediate(() => {
      if (!this.conversation.reconnecting) return;
      world.dispatchEvent(new Event('online'));
      this.#revive();
    });
  }

  /** @param {() => boolean} reached @returns {Promise<void>} */
  until(reached) {
    return new Promise((resolve) => {
      const check = () => {
        if (!reached()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  idle() {
    return this.until(() => this.conversation.phase === 'idle');
  }

  get said() {
    return this.conversation.messages.map(({ role, text, state }) => [role, text, state]);
  }

  end() {
    this.#end.abort();
  }
}

/** @param {string} name @param {(server: Server, visit: (kept?: import('../../static/widget/session.js').Kept, storage?: MemoryStorage) => Visit) => Promise<void>} body */
function it(name, body) {
  test(`it ${name}`, { timeout: 10_000 }, async () => {
    const server = new Server();
    /** @type {Visit[]} */
    const visits = [];
    await body(server, (kept, storage) => (visits.push(new Visit(server, kept, storage)), visits[visits.length - 1]));
    visits.forEach((visit) => visit.end());
  });
}

const KNOWN = { token: 'tok', expires: '2099-01-01T00:00:00Z', visitor: 'v', conversation: 'c', spoken: true };

it('asks, hears the answer as it comes, and announces it once', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Hel'), text(3, '**lo**'), done(4, 'Hel**lo**')));
  const { conversation, ...my } = visit();
  const here = visit();
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hel**lo**', 'complete']]);
  assert.deepEqual(here.heard, ['Hello\n']);
  assert.equal(conversation.phase, 'idle');
  assert.deepEqual(my.heard, []);
});

it('begins a session only when something is said, and says which page and conversation', async (server, visit) => {
  server.on('POST messages', stream(START, done(2, 'Hello')));
  const here = visit();
  await here.conversation.load();
  assert.deepEqual(server.calls, []);
  here.conversation.send('Hi');
  await here.idle();
  const [{ body, headers }] = server.to('POST messages');
  assert.match(body.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual({ ...body, id: '' }, { id: '', conversation: 'c', text: 'Hi', page: { url: 'https://fern.example/', title: 'Fern' } });
  assert.equal(headers.Authorization, 'Bearer tok');
});

it('resumes a cut answer after the last event that it has heard', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Hel'), 'cut'));
  server.on('GET turns/t/events', offline, stream(text(3, 'lo'), 'cut'), stream(done(4, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
  assert.deepEqual(server.to('GET turns/t/events').map(({ headers }) => headers['Last-Event-ID']), ['0-2', '0-2', '0-3']);
  assert.ok(here.reconnections > 0);
  assert.equal(here.conversation.reconnecting, false);
});

it('resumes an answer whose stream ended without an end', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Hel')));
  server.on('GET turns/t/events', () => problem(503, 'unavailable'), stream(text(3, 'lo'), done(4, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said[1], ['assistant', 'Hello', 'complete']);
});

it('sends a message that was cut off before its start again under the same id', async (server, visit) => {
  server.on('POST messages', offline, stream('cut'), stream(START, done(2, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  const ids = server.to('POST messages').map(({ body }) => body.id);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
  assert.deepEqual(here.said.length, 2);
});

it('keeps a message that the network never takes, and tries again under the same id', async (server, visit) => {
  server.on('POST messages', offline);
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.until(() => here.conversation.messages[0]?.state === 'failed');
  assert.equal(here.conversation.phase, 'idle');
  server.on('POST messages', stream(START, done(2, 'Hello')));
  here.conversation.retry();
  await here.idle();
  assert.equal(new Set(server.to('POST messages').map(({ body }) => body.id)).size, 1);
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
});

it('forgets the text so far at a reset', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Wrong'), ['0-3', 'source', { n: 1, title: 'A' }], ['1-0', 'reset', {}], ['1-1', 'text', { text: 'Right' }], 'cut'));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.until(() => here.conversation.messages[1]?.text === 'Right');
  assert.deepEqual(here.conversation.messages[1].sources, []);
  server.on('GET turns/t/events', stream(['1-2', 'done', { message: 'm', state: 'complete', text: 'Right' }]));
  await here.idle();
  assert.equal(server.to('GET turns/t/events')[0].headers['Last-Event-ID'], '1-1');
});

it('shows an answer that broke off as such, and an unknown state too', async (server, visit) => {
  for (const state of ['interrupted', 'something new']) {
    server.on('POST messages', stream(START, text(2, 'Hel'), done(3, 'Hel', state)));
    const here = visit(KNOWN);
    here.conversation.send('Hi');
    await here.idle();
    assert.deepEqual(here.said[1], ['assistant', 'Hel', 'interrupted']);
  }
});

it('ignores events that it does not know', async (server, visit) => {
  server.on('POST messages', stream(START, ['0-2', 'confetti', {}], ['0-3', 'constructor', {}], ['0-4', '__proto__', {}], done(5, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said[1], ['assistant', 'Hello', 'complete']);
});

it('shows what is being looked up, each in its place, until the answer is whole', async (server, visit) => {
  server.on('POST messages', stream(START, tool(2, 'a', 'running'), tool(3, 'b', 'running'), tool(4, 'a', 'failed'), 'cut'));
  server.on('GET turns/t/events', stream(tool(5, 'b', 'done'), 'cut'), stream(done(6, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  for (const states of [['running', 'running'], ['failed', 'running'], ['failed', 'done'], []]) {
    await here.until(() => isDeepStrictEqual(here.conversation.messages[1]?.tools?.map(({ state }) => state), states));
  }
  await here.idle();
  assert.deepEqual(server.to('GET turns/t/events').map(({ headers }) => headers['Last-Event-ID']), ['0-4', '0-5']);
});

it('shows on the next page what is being looked up, once', async (server, visit) => {
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }], turn: { id: 't', state: 'running' } }));
  server.on('GET turns/t/events', stream(START, tool(2, 'a', 'running'), ['1-0', 'reset', {}], ['1-1', 'tool', { id: 'b', label: 'Looking', state: 'running' }], 'cut'), stream(done(9, 'Hello')));
  const here = visit(KNOWN);
  await here.conversation.load();
  await here.until(() => here.reconnections > 0);
  await here.idle();
  const [, answer] = here.conversation.messages;
  assert.deepEqual([answer.text, answer.tools], ['Hello', []]);
  assert.deepEqual(here.drawn.filter((tools) => tools.length > 1), []);
  assert.ok(here.drawn.some(([each]) => each?.state === 'running'));
});

it('keeps the sources in order, each once, and reads them from the transcript', async (server, visit) => {
  const [one, two] = [{ n: 1, title: 'Delivery', url: 'https://fern.example/d' }, { n: 2, title: 'Hours' }];
  server.on('POST messages', stream(START, ['0-2', 'source', two], ['0-3', 'source', { ...one, title: 'Old' }], ['0-4', 'source', one], text(5, 'Yes [1].'), done(6, 'Yes [1].')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.conversation.messages[1].sources, [one, two]);
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'm', role: 'assistant', text: 'Yes [1].', state: 'complete', sources: [one] }] }));
  await here.conversation.load();
  assert.deepEqual(here.conversation.messages[0].sources, [one]);
});

it('offers replies with the whole answer, the latest and at most four, until something is said', async (server, visit) => {
  server.on('POST messages', stream(START, replies(2, 'Old'), replies(3, 'A', 'B', 'C', 'D', 'E'), done(4, 'Which?')), stream(['0-1', 'start', { turn: 't2', message: 'm2' }], done(2, 'A, then')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.conversation.messages[1].replies, ['A', 'B', 'C', 'D']);
  assert.deepEqual(here.heard, ['Which?\nReplies\nA\nB\nC\nD']);
  here.conversation.send('A');
  assert.equal(here.conversation.messages[1].replies, undefined);
  await here.idle();
  assert.deepEqual(here.heard.slice(1), ['A, then\n']);
});

it('offers no replies to an answer that is not whole, nor those from before a reset', async (server, visit) => {
  for (const events of [[done(3, 'Whi', 'interrupted')], [done(3, 'Whi', 'cancelled')], [['1-0', 'reset', {}], done(3, 'Whi')]]) {
    server.on('POST messages', stream(START, replies(2, 'A', 'B'), .../** @type {any} */ (events)));
    const here = visit(KNOWN);
    here.conversation.send('Hi');
    await here.idle();
    assert.deepEqual(here.conversation.messages[1].replies, []);
    assert.deepEqual(here.heard, ['Whi\n']);
  }
});

it('says that a person has been asked, and stands by it', async (server, visit) => {
  for (const [event, said] of /** @type {[any, string][]} */ ([[done(4, 'Soon.'), 'Soon.'], [['0-4', 'error', { code: 'unavailable', detail: 'Away.' }], 'Away.']])) {
    server.on('POST messages', stream(START, ['0-2', 'handoff', { state: 'asked' }], ['0-3', 'reset', {}], event));
    const here = visit(KNOWN);
    here.conversation.send('Hi');
    await here.idle();
    assert.equal(here.conversation.messages[1].asked, true);
    assert.deepEqual(here.heard, [`${said}\nA person was asked.`]);
  }
});

it('makes nothing of a state of the hand-off that it does not know', async (server, visit) => {
  server.on('POST messages', stream(START, ['0-2', 'handoff', { state: 'pondered' }], done(3, 'Soon.')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.heard, ['Soon.\n']);
});

it('keeps the passages that come with an error, and nothing of the answer', async (server, visit) => {
  const passages = [{ title: 'Delivery', url: 'https://fern.example/d', text: 'Two days.' }];
  const source = ['0-2', 'source', { n: 1, title: 'A' }];
  server.on('POST messages', stream(START, /** @type {any} */ (source), tool(3, 'a', 'running'), ['0-4', 'error', { code: 'unavailable', detail: 'Away.', passages }]));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  const [, { role, text, sources, tools, ...notice }] = here.conversation.messages;
  assert.deepEqual([role, text, sources, tools, notice.passages], ['notice', 'Away.', undefined, undefined, passages]);
  assert.deepEqual(here.heard, ['Away.\nThis may help:\nDelivery']);
});

it('gives the words back at a limit, in the server\'s sentence and until its time', async (server, visit) => {
  server.on('POST messages', () => problem(429, 'rate_limited', { retry_after: 7 }));
  const here = visit(KNOWN);
  const before = Date.now();
  here.conversation.send('Hi');
  await here.until(() => here.conversation.notice !== null);
  assert.deepEqual(here.givenBack, ['Hi']);
  assert.deepEqual(here.said, []);
  assert.equal(here.conversation.notice?.text, 'Sorry: rate_limited.');
  assert.ok(Math.abs((here.conversation.notice?.until ?? 0) - before - 7_000) < 1_000);
  assert.deepEqual(here.heard, ['Sorry: rate_limited.']);
  assert.equal(server.to('POST messages').length, 1);
});

for (const [status, code] of /** @type {[number, string][]} */ ([[402, 'budget_exhausted'], [413, 'message_too_long'], [503, 'unavailable'], [403, 'origin_not_allowed']])) {
  it(`keeps the draft at ${code}`, async (server, visit) => {
    server.on('POST messages', () => problem(status, code));
    const here = visit(KNOWN);
    here.conversation.send('Hi');
    await here.until(() => here.conversation.notice !== null);
    assert.deepEqual(here.givenBack, ['Hi']);
    assert.equal(here.conversation.notice?.until, undefined);
    assert.equal(here.session.kept.pending, null);
  });
}

it('has words of its own where a refusal has none', async (server, visit) => {
  server.on('POST messages', () => new Response('<h1>Bad gateway</h1>', { status: 502 }));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.until(() => here.conversation.notice !== null);
  assert.equal(here.conversation.notice?.text, 'Out of reach.');
});

it('hears the other tab\'s answer when that one is being given', async (server, visit) => {
  server.on('POST messages', () => problem(409, 'busy', { turn: 't' }));
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Theirs', state: 'complete' }], turn: { id: 't', state: 'running' } }));
  server.on('GET turns/t/events', stream(START, done(2, 'For both')));
  const here = visit(KNOWN);
  here.conversation.send('Mine');
  await here.until(() => here.conversation.messages[1]?.state === 'complete');
  assert.deepEqual(here.said, [['visitor', 'Theirs', 'complete'], ['assistant', 'For both', 'complete']]);
  assert.deepEqual(here.givenBack, ['Mine']);
});

it('begins a new session when the old one is over, and says so, once', async (server, visit) => {
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Before', state: 'complete' }] }));
  server.on('POST messages', () => problem(401, 'session_expired'), stream(START, done(2, 'Hello')));
  const here = visit({ ...KNOWN, token: 'old' });
  await here.conversation.load();
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Before', 'complete'], ['notice', 'A new one begins.', 'complete'], ['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
  assert.deepEqual(server.to('POST messages').map(({ headers }) => headers.Authorization), ['Bearer old', 'Bearer tok']);
});

it('says nothing of a new session where nothing was lost', async (server, visit) => {
  server.on('POST messages', () => problem(401, 'session_expired'), stream(START, done(2, 'Hello')));
  const here = visit({ ...KNOWN, spoken: false });
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
});

it('begins afresh on a page where the session turns out to be over', async (server, visit) => {
  server.on('GET conversation', () => problem(401, 'session_expired'));
  const here = visit({ ...KNOWN, draft: 'typed' });
  await here.conversation.load();
  assert.deepEqual(here.said, [['notice', 'A new one begins.', 'complete']]);
  assert.equal(here.session.kept.token, undefined);
  assert.equal(here.session.kept.draft, 'typed');
});

it('writes to the conversation that is current now', async (server, visit) => {
  server.on('GET conversation', () => json({ id: 'c2', messages: [] }));
  server.on('POST messages', () => problem(404, 'not_found'), stream(START, done(2, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(server.to('POST messages').map(({ body }) => body.conversation), ['c', 'c2']);
  assert.equal(here.said.length, 2);
});

it('follows an answer that was under way when the page was left, from its beginning', async (server, visit) => {
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }], turn: { id: 't', state: 'running' } }));
  server.on('GET turns/t/events', stream(START, text(2, 'Hel'), text(3, 'lo'), done(4, 'Hello')));
  const here = visit(KNOWN);
  await here.conversation.load();
  assert.equal(here.conversation.phase, 'answering');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
  assert.equal(server.to('GET turns/t/events')[0].headers['Last-Event-ID'], undefined);
});

it('reads the transcript where the stream of an answer is kept no longer', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Hel'), 'cut'));
  server.on('GET turns/t/events', () => problem(404, 'not_found'));
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }, { id: 'm', role: 'assistant', text: 'Hello', state: 'complete' }] }));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.until(() => here.conversation.messages[1]?.text === 'Hello');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
});

it('sends what the last page could not, under its id', async (server, visit) => {
  server.on('POST messages', stream(START, done(2, 'Hello')));
  const here = visit({ ...KNOWN, pending: { id: 'p', text: 'Hi', at: Date.now() - 1_000 } });
  await here.conversation.load();
  await here.idle();
  assert.equal(server.to('POST messages')[0].body.id, 'p');
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
  assert.equal(here.session.kept.pending, null);
});

it('hands back what could not be sent for long', async (server, visit) => {
  const here = visit({ ...KNOWN, pending: { id: 'p', text: 'Hi', at: Date.now() - 3_600_000 } });
  await here.conversation.load();
  assert.deepEqual(here.givenBack, ['Hi']);
  assert.deepEqual(server.to('POST messages'), []);
});

it('does not send again what the transcript has', async (server, visit) => {
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'p', role: 'visitor', text: 'Hi', state: 'complete' }, { id: 'm', role: 'assistant', text: 'Hello', state: 'complete' }] }));
  const here = visit({ ...KNOWN, pending: { id: 'p', text: 'Hi', at: Date.now() } });
  await here.conversation.load();
  assert.deepEqual(server.to('POST messages'), []);
  assert.equal(here.said.length, 2);
});

it('shows an error in the server\'s words, and asks the same message again', async (server, visit) => {
  server.on('POST messages', stream(START, ['0-2', 'error', { code: 'overloaded', detail: 'So many guests!', retry: true }]), stream(['0-1', 'start', { turn: 't2', message: 'm2' }], done(2, 'Hello')));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['notice', 'So many guests!', 'complete']]);
  here.conversation.retry();
  await here.idle();
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
  const ids = server.to('POST messages').map(({ body }) => body.id);
  assert.equal(ids[0], ids[1]);
});

it('stops an answer, also before it has a name', async (server, visit) => {
  server.on('POST messages', stream(START, text(2, 'Hel'), done(3, 'Hel', 'cancelled')));
  server.on('POST turns/t/cancel', () => json({ turn: 't', state: 'cancelled' }));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  here.conversation.stop();
  await here.idle();
  assert.equal(server.to('POST turns/t/cancel').length, 1);
  assert.deepEqual(here.said[1], ['assistant', 'Hel', 'cancelled']);
});

it('takes no second message while it answers', async (server, visit) => {
  server.on('POST messages', stream(START, done(2, 'Hello')));
  const here = visit(KNOWN);
  assert.equal(here.conversation.send('One'), true);
  assert.equal(here.conversation.send('Two'), false);
  await here.idle();
  assert.equal(server.to('POST messages').length, 1);
});

it('begins an empty conversation', async (server, visit) => {
  server.on('POST messages', stream(START, done(2, 'Hello')));
  server.on('POST conversation', () => json({ id: 'c2', messages: [] }, 201));
  const here = visit(KNOWN);
  here.conversation.send('Hi');
  await here.idle();
  await here.conversation.restart();
  assert.deepEqual(here.said, []);
  assert.equal(here.session.kept.conversation, 'c2');
});

it('hears in one tab what was asked in another', async (server, visit) => {
  const storage = new MemoryStorage();
  const [one, two] = [visit(KNOWN, storage), visit({}, storage)];
  await two.conversation.load();
  server.on('POST messages', stream(START, done(2, 'Hello')));
  one.conversation.send('Hi');
  await one.idle();
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }], turn: { id: 't', state: 'running' } }));
  server.on('GET turns/t/events', stream(START, done(2, 'Hello')));
  world.dispatchEvent(Object.assign(new Event('storage'), { key: 'parlance:fern' }));
  await two.until(() => two.conversation.messages[1]?.state === 'complete');
  assert.deepEqual(two.said, [['visitor', 'Hi', 'complete'], ['assistant', 'Hello', 'complete']]);
});

it('renews a session that ends soon, and keeps its conversation', async (server, visit) => {
  server.on('POST sessions', () => json({ token: 'new', expires_at: '2099-01-01T00:00:00Z', visitor: { id: 'v' }, conversation: { id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }] } }, 201));
  const here = visit({ ...KNOWN, expires: new Date(Date.now() + 3_600_000).toISOString() });
  await here.conversation.load();
  assert.equal(here.session.kept.token, 'new');
  assert.deepEqual(here.said, [['visitor', 'Hi', 'complete']]);
  assert.equal(server.to('POST sessions')[0].headers.Authorization, 'Bearer tok');
});

it('works as long as the page where storage is denied', async (server, visit) => {
  const denied = /** @type {any} */ ({ getItem: () => assert.fail('denied'), setItem: () => assert.fail('denied') });
  server.on('POST messages', stream(START, done(2, 'Hello')), stream(['0-1', 'start', { turn: 't2', message: 'm2' }], done(2, 'Again')));
  const here = visit({}, denied);
  here.conversation.send('Hi');
  await here.idle();
  here.conversation.send('And?');
  await here.idle();
  assert.equal(server.to('POST sessions').length, 1);
  assert.equal(here.said.length, 4);
});

it('offers to load again what could not be loaded', async (server, visit) => {
  server.on('GET conversation', offline);
  const here = visit(KNOWN);
  await here.conversation.load();
  assert.equal(here.conversation.notice?.text, 'Out of reach.');
  server.on('GET conversation', () => json({ id: 'c', messages: [{ id: 'q', role: 'visitor', text: 'Hi', state: 'complete' }] }));
  here.conversation.notice?.retry?.();
  await here.until(() => here.said.length === 1);
  assert.equal(here.conversation.notice, null);
});
